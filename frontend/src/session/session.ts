import type { ShallowRef } from "vue";

import type { Credentials } from "../api";
import { parseChannel } from "../channelName";

/** The viewer's sign-in. Which of the two ways it is, only `main.ts` knows. */
export interface Session {
  readonly signedIn: Readonly<ShallowRef<boolean>>;

  /** Restores the sign-in of before, if there is one. */
  restore(): void;

  /**
   * Leaves the page for the sign-in, which comes back to `/callback` and then to the channel. A viewer is asked for
   * nothing but who they are; a streamer (or a moderator) for the consent that other subscription types need.
   */
  signIn(channel: string, as?: "viewer" | "streamer"): Promise<void>;

  /** Finishes the sign-in at `/callback` and answers the channel to go to. Throws {@link SignInError}. */
  finish(url: string): Promise<string>;

  /** What requests of the API need; null when the viewer has to sign in again. */
  credentials(): Promise<Credentials | null>;

  /** Forgets a sign-in that the server no longer accepts. */
  forget(): Promise<void>;

  /** Signs out here, which leads back to the first page. */
  signOut(): Promise<void>;

  /** Signs out on all of the viewer's devices, where that is possible. */
  signOutEverywhere?(): Promise<void>;
}

export const NEEDS_STORAGE =
  "To sign in, Fanfare keeps something in this browser, which forbids that. Allow this site cookies and site data.";

/** The sign-in could not be started or finished. `channel` is where the viewer wanted to go, if that is still known. */
export class SignInError extends Error {
  override name = "SignInError";

  constructor(
    message: string,
    readonly channel: string | null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Twitch has sent the viewer back with an error (RFC 6749, 4.1.2.1). */
  static refused(error: string | null, channel: string | null, cause?: unknown): SignInError {
    const cancelled = error === "access_denied";
    const message = cancelled ? "Twitch says that the sign-in was cancelled." : "The sign-in was refused.";
    return new SignInError(message, channel, { cause });
  }

  /** This tab has begun no such sign-in, or has finished it already. */
  static unknown(cause?: unknown): SignInError {
    return new SignInError("It could not be finished: it may have ended, or was already used.", null, { cause });
  }
}

/** The storage of this tab; null if the browser forbids it or keeps nothing in it. */
export function tabStorage(): Storage | null {
  try {
    const probe = "fanfare.probe";
    window.sessionStorage.setItem(probe, "");
    window.sessionStorage.removeItem(probe);
    return window.sessionStorage;
  } catch {
    return null;
  }
}

/** The channel in a sign-in's state; null if it is none. */
export function channelOf(state: unknown): string | null {
  const channel = (state as { channel?: unknown } | null | undefined)?.channel;
  // The state came back through this browser's storage; it becomes a path, so it is read as carefully as typing.
  const parsed = typeof channel === "string" ? parseChannel(channel) : null;
  return parsed && "login" in parsed ? parsed.login : null;
}
