import { ErrorResponse, UserManager, WebStorageStateStore, type User } from "oidc-client-ts";
import { shallowRef, type ShallowRef } from "vue";

import { parseChannel } from "./channel";
import type { SiteConfig } from "./config";

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
  readonly #manager: UserManager;
  readonly #signedIn = shallowRef(false);

  constructor(
    private readonly config: SiteConfig["identity"],
    private readonly origin: string,
  ) {
    this.#manager = new UserManager({
      authority: config.authority,
      client_id: config.client_id,
      redirect_uri: `${origin}/callback`,
      scope: "openid",
      extraQueryParams: { identity_provider: config.provider },
      // Fixed paths of the pool's domain: naming them saves a discovery request to yet another host.
      // https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html
      metadata: {
        issuer: config.authority,
        authorization_endpoint: `${config.domain}/oauth2/authorize`,
        token_endpoint: `${config.domain}/oauth2/token`,
      },
      // Tokens end with the tab: nothing stays on a shared computer.
      userStore: new WebStorageStateStore({ store: sessionStorage }),
      stateStore: new WebStorageStateStore({ store: sessionStorage }),
      automaticSilentRenew: false,
    });
  }

  get signedIn(): Readonly<ShallowRef<boolean>> {
    return this.#signedIn;
  }

  /** Finds the sign-in that this tab still has. */
  async restore(): Promise<void> {
    const user = await this.#manager.getUser();
    this.#signedIn.value = user !== null && (user.expired !== true || user.refresh_token !== undefined);
  }

  /** Leaves the page for the sign-in, which comes back to `/callback` and then to the channel. */
  async signIn(channel: string): Promise<void> {
    await this.#manager.signinRedirect({ state: { channel } });
  }

  /** Finishes the sign-in at `/callback` and answers the channel to go to. Throws {@link SignInError}. */
  async finish(url: string): Promise<string> {
    let user: User;
    try {
      user = await this.#manager.signinRedirectCallback(url);
    } catch (error) {
      if (error instanceof ErrorResponse) {
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
    const user = await this.#manager.getUser();
    if (user === null) return null;
    if ((user.expires_in ?? 0) > RENEW_BEFORE_SECONDS) return user.access_token;
    if (user.refresh_token === undefined) return null;
    try {
      return (await this.#manager.signinSilent())?.access_token ?? null;
    } catch (error) {
      // Refused is final; anything else (no network, say) is for the caller to try again.
      if (error instanceof ErrorResponse) return null;
      throw error;
    }
  }

  /** Forgets a sign-in that the server no longer accepts. */
  async forget(): Promise<void> {
    await this.#manager.removeUser();
    this.#signedIn.value = false;
  }

  /** Signs out here and at the user pool, which leads back to the first page. */
  async signOut(): Promise<void> {
    await this.#manager.removeUser();
    const query = new URLSearchParams({ client_id: this.config.client_id, logout_uri: `${this.origin}/` });
    window.location.assign(`${this.config.domain}/logout?${query.toString()}`);
  }
}

function channelOf(state: unknown): string | null {
  const channel = (state as { channel?: unknown } | null | undefined)?.channel;
  // The state came back through this browser's storage; it becomes a path, so it is read as carefully as typing.
  const parsed = typeof channel === "string" ? parseChannel(channel) : null;
  return parsed && "login" in parsed ? parsed.login : null;
}
