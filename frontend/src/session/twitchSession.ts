import { shallowRef, type ShallowRef } from "vue";

import { ApiError, beginSession, endSession, readSignInUrl, type Credentials } from "../api";
import { channelOf, NEEDS_STORAGE, SignInError, tabStorage, type Session } from "./session";

/** On this device, while somebody is signed in. The cookie itself is for the server only. */
const SIGNED_IN = "fanfare.signed-in";
/** In this tab, between the begin and the end of a sign-in: `{state, verifier, channel}`. */
const PENDING = "fanfare.sign-in";

/** The sign-in without Cognito: Twitch's code is exchanged by the API, which gives this browser a cookie. */
export class TwitchSession implements Session {
  readonly #signedIn = shallowRef(false);

  constructor(private readonly origin: string) {}

  get signedIn(): Readonly<ShallowRef<boolean>> {
    return this.#signedIn;
  }

  restore(): void {
    if (tabStorage() === null) return;
    const read = (): void => {
      this.#signedIn.value = localStorage.getItem(SIGNED_IN) !== null;
    };
    read();
    // Another tab has signed in or out.
    window.addEventListener("storage", read);
  }

  async signIn(channel: string, as: "viewer" | "streamer" = "viewer"): Promise<void> {
    const store = tabStorage();
    if (store === null) throw new SignInError(NEEDS_STORAGE, null);
    const url = await readSignInUrl(as);
    const pending = { state: secret(), verifier: secret(), channel };
    store.setItem(PENDING, JSON.stringify(pending));
    url.searchParams.set("state", pending.state);
    // The API exchanges the code for nobody but who knows what this is the hash of.
    url.searchParams.set("nonce", await hash(pending.verifier));
    window.location.assign(url);
  }

  async finish(url: string): Promise<string> {
    const store = tabStorage();
    if (store === null) throw new SignInError(NEEDS_STORAGE, null);
    const query = new URL(url).searchParams;
    const pending = JSON.parse(store.getItem(PENDING) ?? "{}") as Partial<Record<string, string>>;
    if (pending.verifier === undefined || query.get("state") !== pending.state) throw SignInError.unknown();
    store.removeItem(PENDING);
    const channel = channelOf(pending);
    const code = query.get("code");
    if (code === null) throw SignInError.refused(query.get("error"), channel);
    try {
      await beginSession({ code, redirect_uri: `${this.origin}/callback`, verifier: pending.verifier });
    } catch (cause) {
      const message = cause instanceof ApiError ? cause.message : "The server cannot be reached.";
      throw new SignInError(message, channel, { cause });
    }
    localStorage.setItem(SIGNED_IN, "");
    this.#signedIn.value = true;
    if (channel === null) throw new SignInError("You are signed in, but the channel got lost on the way.", null);
    return channel;
  }

  credentials(): Promise<Credentials | null> {
    return Promise.resolve(this.#signedIn.value ? {} : null);
  }

  forget(): Promise<void> {
    localStorage.removeItem(SIGNED_IN);
    this.#signedIn.value = false;
    return Promise.resolve();
  }

  signOut(): Promise<void> {
    return this.#end("this");
  }

  signOutEverywhere(): Promise<void> {
    return this.#end("all");
  }

  async #end(devices: "this" | "all"): Promise<void> {
    await endSession(devices);
    await this.forget();
    window.location.assign("/");
  }
}

function secret(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

/** SHA-256 in base64url, as a code challenge of PKCE (RFC 7636). */
async function hash(text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
