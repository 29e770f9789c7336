import type { ErrorResponse, User, UserManager } from "oidc-client-ts";
import { shallowRef, type ShallowRef } from "vue";

import { bearer, type Credentials } from "../api";
import type { CognitoConfig } from "../config";
import { channelOf, NEEDS_STORAGE, SignInError, tabStorage, type Session } from "./session";

/** A token that ends sooner than this is renewed before it is used. */
const RENEW_BEFORE_SECONDS = 60;

/** The user pool answers within this (ms), or is asked again. */
const ANSWER_WITHIN = 10_000;

/** What tabs tell each other: a new one asks for a sign-in; one with a sign-in gives it, and says when it ends. */
type Told = "who is signed in?" | "signed out" | { user: string };

/** The sign-in through Cognito: authorization code with PKCE at the user pool, straight through to Twitch. */
export class CognitoSession implements Session {
  #manager: UserManager | undefined;
  #otherTabs: BroadcastChannel | undefined;
  readonly #signedIn = shallowRef(false);

  constructor(
    private readonly config: CognitoConfig,
    private readonly origin: string,
  ) {}

  get signedIn(): Readonly<ShallowRef<boolean>> {
    return this.#signedIn;
  }

  /** The library's own key of the sign-in in the tab's storage. */
  get #key(): string {
    return `oidc.user:${this.config.authority}:${this.config.client_id}`;
  }

  /** Loads the library, when it is first needed: the first page does without it. Throws {@link SignInError}. */
  async #load(): Promise<UserManager> {
    if (this.#manager) return this.#manager;
    const store = tabStorage();
    if (store === null) throw new SignInError(NEEDS_STORAGE, null);
    const { UserManager, WebStorageStateStore } = await import("oidc-client-ts");
    const { config, origin } = this;
    this.#manager ??= new UserManager({
      authority: config.authority,
      client_id: config.client_id,
      redirect_uri: `${origin}/callback`,
      scope: "openid",
      // Fixed paths of the pool's domain: naming them saves a discovery request to another host.
      // https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html
      metadata: {
        issuer: config.authority,
        authorization_endpoint: `${config.domain}/oauth2/authorize`,
        token_endpoint: `${config.domain}/oauth2/token`,
      },
      // Tokens are gone when the last tab is closed: nothing stays on a shared computer.
      userStore: new WebStorageStateStore({ store }),
      stateStore: new WebStorageStateStore({ store }),
      automaticSilentRenew: false,
    });
    return this.#manager;
  }

  /** Restores this tab's sign-in, or takes over that of another tab. */
  restore(): void {
    // Without storage nobody is signed in.
    const store = tabStorage();
    if (store === null) return;
    this.#otherTabs = new BroadcastChannel("fanfare.session");
    this.#otherTabs.onmessage = ({ data }: MessageEvent<Told>) => {
      if (data === "signed out") void this.#end();
      else if (data === "who is signed in?") this.#give();
      else if (!this.#signedIn.value) {
        store.setItem(this.#key, data.user);
        this.#signedIn.value = true;
      }
    };
    this.#signedIn.value = store.getItem(this.#key) !== null;
    if (!this.#signedIn.value) this.#tell("who is signed in?");
  }

  #tell(what: Told): void {
    this.#otherTabs?.postMessage(what);
  }

  /** Gives this tab's sign-in, if it has one, to the tabs that have none. */
  #give(): void {
    const user = tabStorage()?.getItem(this.#key);
    if (user) this.#tell({ user });
  }

  async signIn(channel: string, as: "viewer" | "streamer" = "viewer"): Promise<void> {
    const provider = as === "viewer" ? this.config.provider : this.config.streamer_provider;
    const manager = await this.#load();
    await manager.signinRedirect({ state: { channel }, extraQueryParams: { identity_provider: provider } });
  }

  async finish(url: string): Promise<string> {
    let user: User;
    try {
      user = await (await this.#load()).signinRedirectCallback(url);
    } catch (error) {
      if (error instanceof SignInError) throw error;
      if (isRefusal(error)) {
        throw SignInError.refused(error.error, channelOf(error.state), error);
      }
      throw SignInError.unknown(error);
    }
    this.#signedIn.value = true;
    this.#give();
    const channel = channelOf(user.state);
    if (channel === null) throw new SignInError("You are signed in, but the channel got lost on the way.", null);
    return channel;
  }

  async credentials(): Promise<Credentials | null> {
    const token = await this.accessToken();
    return token === null ? null : bearer(token);
  }

  /**
   * An access token that is good for a while; null when the viewer has to sign in again. Throws when there is no network
   * or the user pool is in trouble: that is for the caller to try again.
   */
  async accessToken(): Promise<string | null> {
    const manager = await this.#load();
    const user = await manager.getUser();
    if (user === null) return null;
    if ((user.expires_in ?? 0) > RENEW_BEFORE_SECONDS) return user.access_token;
    if (user.refresh_token === undefined) return null;
    // Asked without the library, which does not tell a server in trouble from a refusal.
    const answer = await this.#ask("token", { grant_type: "refresh_token", refresh_token: user.refresh_token });
    if (answer.status === 429 || answer.status >= 500) throw new Error(`The user pool answered ${answer.status}.`);
    const tokens = tokensOf(await answer.text());
    // Refused, answered with something else, or signed out meanwhile.
    if (!answer.ok || tokens === null || (await manager.getUser()) === null) return null;
    Object.assign(user, tokens);
    await manager.storeUser(user);
    return user.access_token;
  }

  async forget(): Promise<void> {
    await (await this.#load()).removeUser();
    this.#signedIn.value = false;
  }

  /** Signs out here, in the other tabs and at the user pool, which leads back to the first page. */
  async signOut(): Promise<void> {
    this.#tell("signed out");
    await this.#end();
    const query = new URLSearchParams({ client_id: this.config.client_id, logout_uri: `${this.origin}/` });
    window.location.assign(`${this.config.domain}/logout?${query.toString()}`);
  }

  /** Forgets this tab's sign-in, and has its refresh token revoked. */
  async #end(): Promise<void> {
    const user = await (await this.#load()).getUser();
    await this.forget();
    if (user?.refresh_token === undefined) return;
    try {
      await this.#ask("revoke", { token: user.refresh_token });
    } catch {
      // The answer may be kept from a page of another origin. Without a network the token ends by itself.
    }
  }

  #ask(endpoint: "token" | "revoke", request: Record<string, string>): Promise<Response> {
    return fetch(`${this.config.domain}/oauth2/${endpoint}`, {
      method: "POST",
      body: new URLSearchParams({ client_id: this.config.client_id, ...request }),
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    });
  }
}

/** The tokens of a token endpoint's answer (RFC 6749, 5.1), by the library's names; null if there are none in it. */
function tokensOf(answer: string): Partial<User> | null {
  try {
    const { access_token, expires_in, refresh_token } = JSON.parse(answer) as Record<string, unknown>;
    if (typeof access_token !== "string" || typeof expires_in !== "number") return null;
    return { access_token, expires_in, ...(typeof refresh_token === "string" && { refresh_token }) };
  } catch {
    return null;
  }
}

/** Whether the server answered, and the answer was no: final, unlike a network that is away. */
function isRefusal(error: unknown): error is ErrorResponse {
  return error instanceof Error && error.name === "ErrorResponse";
}
