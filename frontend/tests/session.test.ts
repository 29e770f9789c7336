import { beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";

import { Session } from "../src/session/session";

const ORIGIN = "https://fanfare.example";
const identity = {
  authority: "https://issuer.example/pool",
  client_id: "client",
  domain: "https://pool.example",
  provider: "Twitch",
  streamer_provider: "TwitchStreamer",
};

const part = (value: unknown): string => btoa(JSON.stringify(value)).replaceAll("=", "");
const idToken = [part({ alg: "RS256" }), part({ sub: "u1", iss: identity.authority, aud: "client" }), "signature"].join(".");

let session: Session;
let assign: MockInstance<(url: string | URL) => void>;
let tokenRequests: URLSearchParams[];
let tokenAnswer: () => Response;
let expiresIn: number;

beforeEach(async () => {
  sessionStorage.clear();
  assign = vi.spyOn(window.location, "assign").mockReturnValue();
  tokenRequests = [];
  expiresIn = 3_600;
  tokenAnswer = () =>
    Response.json({
      access_token: `access-${tokenRequests.length}`,
      id_token: idToken,
      refresh_token: "refresh",
      token_type: "Bearer",
      expires_in: expiresIn,
    });
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    expect(url).toBe("https://pool.example/oauth2/token");
    tokenRequests.push(init.body as URLSearchParams);
    return Promise.resolve(tokenAnswer());
  });
  session = new Session(identity, ORIGIN);
  await session.restore();
});

/** Starts the sign-in and answers the address it leads to. */
function leave(...asked: Parameters<Session["signIn"]>): Promise<URL> {
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

  test("survives a reload of the tab", async () => {
    await signIn();
    const reloaded = new Session(identity, ORIGIN);
    await reloaded.restore();
    expect(reloaded.signedIn.value).toBe(true);
  });

  test("that was cancelled says so and knows where to try again", async () => {
    const state = (await leave("marlowe")).searchParams.get("state") ?? "";
    const end = session.finish(`${ORIGIN}/callback?error=access_denied&state=${state}`);
    await expect(end).rejects.toMatchObject({ name: "SignInError", channel: "marlowe" });
    expect(session.signedIn.value).toBe(false);
  });

  test("cannot be finished twice, nor with a state that this tab did not make", async () => {
    await expect(session.finish(`${ORIGIN}/callback?code=code&state=forged`)).rejects.toMatchObject({
      name: "SignInError",
      channel: null,
    });
    expect(tokenRequests).toEqual([]);
  });
});

describe("the access token", () => {
  test("is renewed before it ends", async () => {
    expiresIn = 30;
    await signIn();
    expiresIn = 3_600;
    expect(await session.accessToken()).toBe("access-2");
    expect(tokenRequests[1]?.get("grant_type")).toBe("refresh_token");
    expect(await session.accessToken()).toBe("access-2");
  });

  test("is none when the renewal is refused", async () => {
    expiresIn = 30;
    await signIn();
    tokenAnswer = () => Response.json({ error: "invalid_grant" }, { status: 400 });
    expect(await session.accessToken()).toBeNull();
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
