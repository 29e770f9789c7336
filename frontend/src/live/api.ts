import { isChannelEvent, type ChannelEvent } from "./events";

export interface Channel {
  id: string;
  login: string;
  display_name: string;
  avatar_url: string;
}

/** One topic that the channel is (to be) subscribed to at Twitch; `absent` is rightly so, for the reason given. */
export interface Topic {
  event_type: string;
  status: "enabled" | "pending" | "absent" | "revoked" | "failed";
  reason: string | null;
}

export interface Watch {
  channel: Channel;
  topics: Topic[];
  /** Opens one WebSocket, once. */
  ticket: string;
  websocket_url: string;
}

/** The API answered, but not with success. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    readonly status: number,
    message: string,
    /** Milliseconds that the API asks to wait before the next try. */
    readonly retryAfter: number | null,
  ) {
    super(message);
  }
}

/** `Retry-After` in milliseconds: seconds or an HTTP date (RFC 9110, 10.2.3); null when absent or unreadable. */
export function retryAfter(header: string | null, now: number): number | null {
  if (header === null) return null;
  const wait = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isNaN(wait) ? null : Math.max(0, wait);
}

/** The body of a successful answer. Throws {@link ApiError} for any other. */
export async function answer(response: Response): Promise<unknown> {
  if (response.ok) return response.json();
  let message = `The server answered ${response.status}.`;
  try {
    const body = (await response.json()) as { error?: { message?: unknown } };
    if (typeof body.error?.message === "string") message = body.error.message;
  } catch {
    // A gateway's own error page is not JSON: the status says enough.
  }
  throw new ApiError(response.status, message, retryAfter(response.headers.get("Retry-After"), Date.now()));
}

/** Where a viewer who is signed in asks to follow a channel. */
export const viewerWatchUrl = (login: string): string => `/api/channels/${encodeURIComponent(login)}/watch`;

/** Asks to follow a channel. Throws {@link ApiError}, or what `fetch` throws when there is no connection. */
export async function watch(fetch: typeof globalThis.fetch, url: string, accessToken: string): Promise<Watch> {
  const response = await fetch(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${accessToken}` },
  });
  return (await answer(response)) as Watch;
}

/** The most that the events route gives at once. */
const PAGE = 100;

/** The newest recorded events of a channel, newest first. Throws as {@link watch} does. */
export async function newestEvents(fetch: typeof globalThis.fetch, login: string): Promise<ChannelEvent[]> {
  const response = await fetch(`/api/channels/${encodeURIComponent(login)}/events?limit=${PAGE}`, {
    // The answers may be served stale for a while; that is for the shared cache, not for this browser's.
    cache: "no-store",
  });
  const body = (await answer(response)) as { events: unknown[] };
  return body.events.filter(isChannelEvent);
}
