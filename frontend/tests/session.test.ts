import { beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";

import { CognitoSession } from "../src/session/cognitoSession";
import type { Session } from "../src/session/session";
import { TwitchSession } from "../src/session/twitchSession";
import { tabs } from "./tabs";

const ORIGIN = "https://fanfare.example";
const TWITCH = "https://twitch.example/authorize";
const identity = {
  kind: "cognito",
  authority: "https://issuer.example/pool",
  client_id: "client",
  domain: "https://pool.example",
  provider: "Twitch",
  streamer_provider: "TwitchStreamer",
} as const;

const part = (value: unknown): string => btoa(JSON.stringify(value)).replaceAll("=", "");
const tokens = {
  access_token: "access",
  id_token: [part({ alg: "RS256" }), part({ sub: "u1", iss: identity.authority, aud: "client" }), "signature"].join("."),
  refresh_token: "refresh",
  token_type: "Bearer",
  expires_in: 3_600,
};

interface Asked {
  method: string;
  url: string;
  body: unknown;
}

let asked: Asked[];
let refusal: Response | null;

/** The user pool and the API: whatever is asked for works. */
function answer(url: string, init: RequestInit = {}): Promise<Response> {
  asked.push({ method: init.method ?? "GET", url, body: init.body });
  if (refusal !== null && init.method === "POST") return Promise.resolve(refusal);
  if (url === "https://pool.example/oauth2/token") return Promise.resolve(Response.json(tokens));
  if (url.startsWith("/api/session?as=")) return Promise.resolve(Response.json({ url: `${TWITCH}?scope=openid` }));
  return Promise.resolve(new Response(null, { status: 204 }));
}

beforeEach(() => {
  sessionStorage.clear();
  localStorage.clear();
  [asked, refusal] = [[], null];
  vi.stubGlobal("fetch", answer);
  vi.stubGlobal("BroadcastChannel", tabs());
});

describe.each([
  ["through Cognito", () => new CognitoSession(identity, ORIGIN), { Authorization: "Bearer access" }],
  ["without Cognito", () => new TwitchSession(ORIGIN), {}],
])("signing in %s", (_way, make, credentials) => {
  let session: Session;
  let assign: MockInstance<(url: string | URL) => void>;

  beforeEach(() => {
    assign = vi.spyOn(window.location, "assign").mockReturnValue();
    session = make();
    session.restore();
  });

  /** Starts the sign-in and answers the address it leads to. */
  function leave(): Promise<URL> {
    return new Promise((resolve, reject) => {
      assign.mockImplementation((url) => {
        resolve(new URL(url, ORIGIN));
      });
      session.signIn("marlowe").catch(reject);
    });
  }

  async function back(query = "code=code"): Promise<string> {
    const state = (await leave()).searchParams.get("state") ?? "";
    return session.finish(`${ORIGIN}/callback?${query}&state=${state}`);
  }

  test("comes back to the channel, signed in", async () => {
    expect(session.signedIn.value).toBe(false);
    expect(await session.credentials()).toBeNull();
    expect(await back()).toBe("marlowe");
    expect(session.signedIn.value).toBe(true);
    expect(await session.credentials()).toEqual(credentials);
  });

  test("survives a reload of the page", async () => {
    await back();
    const reloaded = make();
    reloaded.restore();
    expect(reloaded.signedIn.value).toBe(true);
  });

  test("that was cancelled says so and knows where to try again", async () => {
    await expect(back("error=access_denied")).rejects.toMatchObject({
      name: "SignInError",
      channel: "marlowe",
      message: expect.stringContaining("cancelled") as string,
    });
    expect(session.signedIn.value).toBe(false);
  });

  test("cannot be finished with a state that this tab did not make", async () => {
    await leave();
    const before = asked.length;
    for (const query of ["code=code&state=forged", "code=code", "code=code&state=undefined"]) {
      await expect(session.finish(`${ORIGIN}/callback?${query}`)).rejects.toMatchObject({
        name: "SignInError",
        channel: null,
      });
    }
    expect(asked).toHaveLength(before);
    expect(session.signedIn.value).toBe(false);
  });

  test("cannot be finished twice", async () => {
    const state = (await leave()).searchParams.get("state") ?? "";
    await session.finish(`${ORIGIN}/callback?code=code&state=${state}`);
    const again = session.finish(`${ORIGIN}/callback?code=code&state=${state}`);
    await expect(again).rejects.toMatchObject({ name: "SignInError" });
  });

  test.each([
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "%2F%2Fevil.example",
    "/%5Cevil.example",
    "https:evil.example",
    "https://twitch.tv@evil.example",
    "\t//evil.example",
    "../x",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "javascript%3Aalert(1)",
    "data:text/html,x",
  ])(
    "never leads to another site or page (%s)",
    async (channel) => {
      const url = await new Promise<URL>((resolve) => {
        assign.mockImplementation((to) => {
          resolve(new URL(to));
        });
        void session.signIn(channel);
      });
      const end = session.finish(`${ORIGIN}/callback?code=code&state=${url.searchParams.get("state") ?? ""}`);
      await expect(end).rejects.toMatchObject({ name: "SignInError", channel: null });
    },
  );

  test("is over after signing out, which leads to the first page", async () => {
    await back();
    await session.signOut();
    expect(session.signedIn.value).toBe(false);
    expect(await session.credentials()).toBeNull();
    const target = new URL(assign.mock.lastCall?.[0] ?? "", ORIGIN);
    expect([target.pathname, target.searchParams.get("logout_uri")]).toContain(
      target.origin === ORIGIN ? "/" : `${ORIGIN}/`,
    );
    expect(sessionStorage).toHaveLength(0);
    expect(localStorage).toHaveLength(0);
  });

  test("is over in every tab after signing out in one", async () => {
    await back();
    const other = make();
    other.restore();
    expect(other.signedIn.value).toBe(true);
    await session.signOut();
    // A browser tells the other tabs of a change of the storage.
    window.dispatchEvent(new Event("storage"));
    await vi.waitUntil(() => !other.signedIn.value);
  });

  test("is forgotten when the server does not know it any more", async () => {
    await back();
    await session.forget();
    expect(session.signedIn.value).toBe(false);
    expect(await session.credentials()).toBeNull();
  });

  test.each([
    ["throws when it is touched", () => vi.spyOn(window, "sessionStorage", "get").mockImplementation(() => {
      throw new DOMException("forbidden", "SecurityError");
    })],
    ["is not there", () => vi.spyOn(window, "sessionStorage", "get").mockReturnValue(null as unknown as Storage)],
    ["keeps nothing", () => vi.spyOn(window, "sessionStorage", "get").mockReturnValue({
      setItem() {
        throw new DOMException("full", "QuotaExceededError");
      },
    } as unknown as Storage)],
  ])("says what it needs when the storage %s", async (_why, forbid) => {
    forbid();
    session = make();
    session.restore();
    expect(session.signedIn.value).toBe(false);
    const needs = { name: "SignInError", message: expect.stringContaining("cookies and site data") as string };
    await expect(session.signIn("marlowe")).rejects.toMatchObject(needs);
    await expect(session.finish(`${ORIGIN}/callback?code=code&state=state`)).rejects.toMatchObject(needs);
  });
});

describe("without Cognito", () => {
  let session: TwitchSession;
  let assign: MockInstance<(url: string | URL) => void>;

  beforeEach(() => {
    assign = vi.spyOn(window.location, "assign").mockReturnValue();
    session = new TwitchSession(ORIGIN);
    session.restore();
  });

  async function signIn(as?: "streamer"): Promise<URL> {
    await session.signIn("marlowe", as);
    return new URL(assign.mock.lastCall?.[0] ?? "");
  }

  test("the code is exchanged with the secret whose hash Twitch was told", async () => {
    const url = await signIn();
    expect(url.href).toMatch(/^https:\/\/twitch\.example\/authorize\?scope=openid&state=.{43}&nonce=.{43}$/);
    await session.finish(`${ORIGIN}/callback?code=a-code&state=${url.searchParams.get("state") ?? ""}`);
    const { method, url: path, body } = asked.at(-1) ?? {};
    expect([method, path]).toEqual(["POST", "/api/session"]);
    const sent = JSON.parse(String(body)) as Record<string, string>;
    expect(sent).toMatchObject({ code: "a-code", redirect_uri: `${ORIGIN}/callback` });
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(sent.verifier));
    const nonce = url.searchParams.get("nonce")?.replaceAll("-", "+").replaceAll("_", "/") ?? "";
    expect(atob(nonce)).toBe(String.fromCharCode(...new Uint8Array(digest)));
  });

  test("a streamer is led to where consent is asked for", async () => {
    await signIn("streamer");
    expect(asked.map(({ url }) => url)).toEqual(["/api/session?as=streamer"]);
  });

  test("a refused code says why, and where to try again", async () => {
    const state = (await signIn()).searchParams.get("state") ?? "";
    refusal = Response.json({ error: { code: "other_browser", message: "Not this browser." } }, { status: 400 });
    await expect(session.finish(`${ORIGIN}/callback?code=code&state=${state}`)).rejects.toMatchObject({
      name: "SignInError",
      message: "Not this browser.",
      channel: "marlowe",
    });
    expect(session.signedIn.value).toBe(false);
  });

  test("a viewer can sign out on all devices", async () => {
    await session.signOutEverywhere();
    expect(asked).toMatchObject([{ method: "DELETE", url: "/api/session?devices=all" }]);
  });

  test("who could not be signed out stays signed in", async () => {
    const state = (await signIn()).searchParams.get("state") ?? "";
    await session.finish(`${ORIGIN}/callback?code=code&state=${state}`);
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("offline")));
    await expect(session.signOut()).rejects.toThrow();
    expect(session.signedIn.value).toBe(true);
  });
});
