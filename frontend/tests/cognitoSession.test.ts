import { beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";

import { CognitoSession } from "../src/session/cognitoSession";
import { tabs } from "./tabs";

const ORIGIN = "https://fanfare.example";
const identity = {
  kind: "cognito",
  authority: "https://issuer.example/pool",
  client_id: "client",
  domain: "https://pool.example",
  provider: "Twitch",
  streamer_provider: "TwitchStreamer",
} as const;

const part = (value: unknown): string => btoa(JSON.stringify(value)).replaceAll("=", "");
const idToken = [part({ alg: "RS256" }), part({ sub: "u1", iss: identity.authority, aud: "client" }), "signature"].join(".");

let session: CognitoSession;
let assign: MockInstance<(url: string | URL) => void>;
let tokenRequests: URLSearchParams[];
let revoked: (string | null)[];
let tokenAnswer: () => Response | Promise<Response>;
let expiresIn: number;

beforeEach(() => {
  sessionStorage.clear();
  assign = vi.spyOn(window.location, "assign").mockReturnValue();
  [tokenRequests, revoked] = [[], []];
  expiresIn = 3_600;
  tokenAnswer = () =>
    Response.json({
      access_token: `access-${tokenRequests.length}`,
      id_token: idToken,
      refresh_token: "refresh",
      token_type: "Bearer",
      expires_in: expiresIn,
    });
  vi.stubGlobal("fetch", async (url: string, init: RequestInit) => {
    const body = init.body as URLSearchParams;
    expect(body.get("client_id")).toBe("client");
    if (url === "https://pool.example/oauth2/revoke") {
      revoked.push(body.get("token"));
      return new Response();
    }
    expect(url).toBe("https://pool.example/oauth2/token");
    tokenRequests.push(body);
    return await tokenAnswer();
  });
  vi.stubGlobal("BroadcastChannel", tabs());
  session = new CognitoSession(identity, ORIGIN);
  session.restore();
});

/** Starts the sign-in and answers the address it leads to. */
function leave(...asked: Parameters<CognitoSession["signIn"]>): Promise<URL> {
  return new Promise((resolve, reject) => {
    assign.mockImplementation((url) => {
      resolve(new URL(url));
    });
    session.signIn(...asked).catch(reject);
  });
}

async function signIn(): Promise<string> {
  const state = (await leave("marlowe")).searchParams.get("state") ?? "";
  return session.finish(`${ORIGIN}/callback?code=code&state=${state}`);
}

/** Signs in with a token that ends so soon that it has to be renewed. */
async function signInBriefly(): Promise<void> {
  expiresIn = 30;
  await signIn();
  expiresIn = 3_600;
}

describe("signing in", () => {
  test("leads through the pool straight to Twitch, with a code and PKCE", async () => {
    const url = await leave("marlowe");
    expect(url.origin + url.pathname).toBe("https://pool.example/oauth2/authorize");
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      client_id: "client",
      redirect_uri: `${ORIGIN}/callback`,
      response_type: "code",
      scope: "openid",
      identity_provider: "Twitch",
      code_challenge_method: "S256",
    });
  });

  test("as the streamer leads to the provider that asks for consent, and back to the channel", async () => {
    const query = (await leave("marlowe", "streamer")).searchParams;
    expect(query.getAll("identity_provider")).toEqual(["TwitchStreamer"]);
    expect(query.get("scope")).toBe("openid");
    expect(await session.finish(`${ORIGIN}/callback?code=code&state=${query.get("state") ?? ""}`)).toBe("marlowe");
  });

  test("comes back to the channel, signed in", async () => {
    expect(session.signedIn.value).toBe(false);
    expect(await signIn()).toBe("marlowe");
    expect(session.signedIn.value).toBe(true);
    expect(tokenRequests[0]?.get("code_verifier")).toBeTruthy();
    expect(await session.accessToken()).toBe("access-1");
  });
});

describe("the access token", () => {
  test("is renewed before it ends", async () => {
    await signInBriefly();
    expect(await session.accessToken()).toBe("access-2");
    expect(tokenRequests[1]?.get("grant_type")).toBe("refresh_token");
    expect(await session.accessToken()).toBe("access-2");
  });

  const json = (body: unknown, status = 200) => () => Response.json(body, { status });
  const text = (body: string, status: number) => () => new Response(body, { status });

  test("is the renewed one also when the ID token has changed", async () => {
    await signInBriefly();
    const changed = [part({ alg: "RS256" }), part({ sub: "u1", auth_time: 1 }), "signature"].join(".");
    tokenAnswer = json({ access_token: "renewed", id_token: changed, token_type: "Bearer", expires_in: 3_600 });
    expect(await session.accessToken()).toBe("renewed");
    expect(await session.accessToken()).toBe("renewed");
  });

  test("is renewed with the newest refresh token", async () => {
    await signInBriefly();
    for (const next of ["second", "third"]) {
      tokenAnswer = json({ access_token: "renewed", refresh_token: next, token_type: "Bearer", expires_in: 30 });
      await session.accessToken();
    }
    expect(tokenRequests.map((request) => request.get("refresh_token"))).toEqual([null, "refresh", "second"]);
  });

  test.each([
    json({ error: "invalid_grant" }, 400),
    json({ error: "invalid_client" }, 401),
    json({ message: "Forbidden" }, 403),
    text("<!doctype html>", 404),
    text("<!doctype html>", 200),
    text("", 200),
    json(null),
    json({}),
    json({ access_token: 1, expires_in: 3_600 }),
    json({ access_token: "renewed" }),
  ])("is none when the renewal is refused or answers something else (%#): the viewer signs in", async (answer) => {
    await signInBriefly();
    tokenAnswer = answer;
    expect(await session.accessToken()).toBeNull();
  });

  test.each([
    json({ error: "server_error" }, 500),
    text("<!doctype html>", 502),
    text("", 503),
    json({ error: "too_many_requests" }, 429),
    () => Promise.reject(new TypeError("Failed to fetch")),
    () => Promise.reject(new DOMException("too late", "TimeoutError")),
  ])("is asked for again later when the user pool is in trouble or away (%#)", async (answer) => {
    await signInBriefly();
    const well = tokenAnswer;
    tokenAnswer = answer;
    await expect(session.accessToken()).rejects.toThrow();
    tokenAnswer = well;
    expect(await session.accessToken()).toBe("access-3");
  });

  test("is none when the viewer signs out while it is renewed", async () => {
    await signInBriefly();
    const well = tokenAnswer;
    tokenAnswer = async () => {
      await session.forget();
      return well();
    };
    expect(await session.accessToken()).toBeNull();
    expect(sessionStorage).toHaveLength(0);
  });

  test("is none for who never signed in, and for who signed out", async () => {
    expect(await session.accessToken()).toBeNull();
    await signIn();
    await session.signOut();
    expect(await session.accessToken()).toBeNull();
  });
});

test("signing out forgets the tokens and ends the pool's session", async () => {
  await signIn();
  await session.signOut();
  expect(assign).toHaveBeenLastCalledWith(
    "https://pool.example/logout?client_id=client&logout_uri=https%3A%2F%2Ffanfare.example%2F",
  );
  expect(sessionStorage).toHaveLength(0);
});

test("signing out has the refresh token revoked", async () => {
  await signIn();
  await session.signOut();
  expect(revoked).toEqual(["refresh"]);
});

test("signing out in one tab signs out in the others", async () => {
  await signIn();
  const other = new CognitoSession(identity, ORIGIN);
  other.restore();
  await session.signOut();
  await vi.waitUntil(() => !other.signedIn.value);
  expect(assign).toHaveBeenCalledTimes(2); // to the sign-in, and of this tab to the sign-out
});

describe("with several tabs", () => {
  let heard: unknown[];
  let other: BroadcastChannel;

  beforeEach(() => {
    heard = [];
    other = new BroadcastChannel("fanfare.session");
    other.onmessage = ({ data }) => heard.push(data);
  });

  test("one that has signed in gives its sign-in to the others", async () => {
    await signIn();
    const user = expect.stringContaining('"access-1"') as string;
    await vi.waitUntil(() => heard.length > 0);
    expect(heard).toEqual([{ user }]);
    other.postMessage("who is signed in?");
    await vi.waitUntil(() => heard.length > 1);
    expect(heard[1]).toEqual({ user });
  });

  test("one that has not signed in gives nothing", async () => {
    other.postMessage("who is signed in?");
    await signIn();
    await vi.waitUntil(() => heard.length > 0);
    expect(heard).toHaveLength(1);
  });

  test("a new one asks for the sign-in, and takes it over", async () => {
    await signIn();
    const user = sessionStorage.getItem(sessionStorage.key(0) ?? "");
    session = new CognitoSession(identity, ORIGIN);
    sessionStorage.clear();
    heard = [];
    session.restore();
    expect(session.signedIn.value).toBe(false);
    await vi.waitUntil(() => heard.length > 0);
    expect(heard).toEqual(["who is signed in?"]);
    other.postMessage({ user });
    await vi.waitUntil(() => session.signedIn.value);
    expect(await session.accessToken()).toBe("access-1");
  });

  test("one that is signed in keeps its own sign-in", async () => {
    await signIn();
    other.postMessage({ user: "{}" });
    other.postMessage("who is signed in?");
    await vi.waitUntil(() => heard.length > 1);
    expect(await session.accessToken()).toBe("access-1");
  });
});
