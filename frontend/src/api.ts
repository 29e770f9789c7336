import { isChannelEvent, type ChannelEvent } from "./events/channelEvent";

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

/** A page of a channel's record, newest first; `next` is the cursor of the page of older events, if there is one. */
export interface RecordPage {
  events: ChannelEvent[];
  next: string | null;
}

/** Reads the newest page of a channel's recorded events, or the one at the cursor. Throws as {@link watch} does. */
export async function readRecord(
  fetch: typeof globalThis.fetch,
  login: string,
  before: string | null,
): Promise<RecordPage> {
  const query = new URLSearchParams({ limit: String(PAGE), ...(before === null ? {} : { before }) });
  const response = await fetch(`/api/channels/${encodeURIComponent(login)}/events?${query.toString()}`, {
    // The answers may be served stale for a while; that is for the shared cache, not for this browser's.
    cache: "no-store",
  });
  const { events, next } = (await answer(response)) as { events: unknown[]; next: string | null };
  return { events: events.filter(isChannelEvent), next };
}
