import type { ErrorResponse, User, UserManager } from "oidc-client-ts";
import { shallowRef, type ShallowRef } from "vue";

import { parseChannel } from "../channelName";
import type { SiteConfig } from "../config";

/** A token that ends sooner than this is renewed before it is used. */
const RENEW_BEFORE_SECONDS = 60;

/** The sign-in did not finish. `channel` is where the viewer wanted to go, if that is still known. */
export class SignInError extends Error {
  override name = "SignInError";

  constructor(
    message: string,
    readonly channel: string | null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The viewer's sign-in: authorization code with PKCE at the user pool, straight through to Twitch. */
export class Session {
  #manager: Promise<UserManager> | undefined;
  readonly #signedIn = shallowRef(false);

  constructor(
    private readonly config: SiteConfig["identity"],
    private readonly origin: string,
  ) {}

  get signedIn(): Readonly<ShallowRef<boolean>> {
    return this.#signedIn;
  }

  /** The library is loaded when it is first needed: the first page does without it. */
  #load(): Promise<UserManager> {
    const { config, origin } = this;
    this.#manager ??= import("oidc-client-ts").then(
      ({ UserManager, WebStorageStateStore }) =>
        new UserManager({
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
          // Tokens are gone when the tab is closed: nothing stays on a shared computer.
          userStore: new WebStorageStateStore({ store: sessionStorage }),
          stateStore: new WebStorageStateStore({ store: sessionStorage }),
          automaticSilentRenew: false,
        }),
    );
    return this.#manager;
  }

  /** Restores this tab's sign-in, if it has one. */
  async restore(): Promise<void> {
    // The library's own key.
    if (sessionStorage.getItem(`oidc.user:${this.config.authority}:${this.config.client_id}`) === null) return;
    const user = await (await this.#load()).getUser();
    this.#signedIn.value = user !== null && (user.expired !== true || user.refresh_token !== undefined);
  }

  /**
   * Leaves the page for the sign-in, which comes back to `/callback` and then to the channel. A viewer is asked for
   * nothing but who they are; a streamer (or a moderator) for the consent that other subscription types need.
   */
  async signIn(channel: string, as: "viewer" | "streamer" = "viewer"): Promise<void> {
    const provider = as === "viewer" ? this.config.provider : this.config.streamer_provider;
    const manager = await this.#load();
    await manager.signinRedirect({ state: { channel }, extraQueryParams: { identity_provider: provider } });
  }

  /** Finishes the sign-in at `/callback` and answers the channel to go to. Throws {@link SignInError}. */
  async finish(url: string): Promise<string> {
    let user: User;
    try {
      user = await (await this.#load()).signinRedirectCallback(url);
    } catch (error) {
      if (isRefusal(error)) {
        const message =
          error.error === "access_denied" ? "Twitch says that the sign-in was cancelled." : "The sign-in was refused.";
        throw new SignInError(message, channelOf(error.state), { cause: error });
      }
      throw new SignInError("It could not be finished: it may have ended, or was already used.", null, { cause: error });
    }
    this.#signedIn.value = true;
    const channel = channelOf(user.state);
    if (channel === null) throw new SignInError("You are signed in, but the channel got lost on the way.", null);
    return channel;
  }

  /** An access token that is good for a while; null when the viewer has to sign in again. */
  async accessToken(): Promise<string | null> {
    const user = await (await this.#load()).getUser();
    if (user === null) return null;
    if ((user.expires_in ?? 0) > RENEW_BEFORE_SECONDS) return user.access_token;
    if (user.refresh_token === undefined) return null;
    try {
      return (await (await this.#load()).signinSilent())?.access_token ?? null;
    } catch (error) {
      // Refused is final; anything else (no network, say) is for the caller to try again.
      if (isRefusal(error)) return null;
      throw error;
    }
  }

  /** Forgets a sign-in that the server no longer accepts. */
  async forget(): Promise<void> {
    await (await this.#load()).removeUser();
    this.#signedIn.value = false;
  }

  /** Signs out here and at the user pool, which leads back to the first page. */
  async signOut(): Promise<void> {
    await (await this.#load()).removeUser();
    const query = new URLSearchParams({ client_id: this.config.client_id, logout_uri: `${this.origin}/` });
    window.location.assign(`${this.config.domain}/logout?${query.toString()}`);
  }
}

/** Whether the server answered, and the answer was no: final, unlike a network that is away. */
function isRefusal(error: unknown): error is ErrorResponse {
  return error instanceof Error && error.name === "ErrorResponse";
}

function channelOf(state: unknown): string | null {
  const channel = (state as { channel?: unknown } | null | undefined)?.channel;
  // The state came back through this browser's storage; it becomes a path, so it is read as carefully as typing.
  const parsed = typeof channel === "string" ? parseChannel(channel) : null;
  return parsed && "login" in parsed ? parsed.login : null;
}
