/** Every call of the HTTP API. All throw {@link ApiError}, or what `fetch` throws when there is no connection. */

import type { components, paths } from "./api.types";
import { serverNow, takeServerTime } from "./serverTime";

type Schemas = components["schemas"];

/** One thing that happened on a channel. Times are RFC 3339 UTC; `payload` is Twitch's `event` object. */
export type ChannelEvent = Schemas["Event"];
/** `next` is the cursor of the page of older events; null on the last one. */
export type EventPage = Schemas["EventPage"];
/** How often each event type occurred. */
export type Counts = Readonly<Schemas["ChannelCounts"]["counts"]>;
export type DayCounts = Schemas["Day"];
export type MinuteCounts = Schemas["Minute"];
export type Leader = Schemas["Leader"];
/** The days of a leaderboard; null for all time. */
export type Window = Schemas["Window"] | null;
export type Channel = Schemas["Channel"];
/** The state of the channel's subscription to an event type at Twitch. */
export type Subscription = Schemas["Topic"];
/** What a page needs to follow a channel. */
export type Watch = Schemas["Watch"];

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

/** Whether a value from the network is an event: a malformed one must not break the page. */
export function isChannelEvent(value: unknown): value is ChannelEvent {
  if (typeof value !== "object" || value === null) return false;
  const event = value as Record<string, unknown>;
  return (
    ["id", "streamer_id", "streamer_name", "event_type"].every((key) => typeof event[key] === "string") &&
    ["occurred_at", "created_at"].every((key) => !Number.isNaN(Date.parse(String(event[key])))) &&
    typeof event.payload === "object" &&
    event.payload !== null
  );
}

async function request(path: string, init: RequestInit): Promise<Response> {
  const response = await fetch(path, init);
  takeServerTime(response);
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try {
    const body = (await response.json()) as { error?: { message?: unknown } };
    if (typeof body.error?.message === "string") message = body.error.message;
  } catch {
    // A gateway's own error page is not JSON: the status says enough.
  }
  throw new ApiError(response.status, message, retryAfter(response.headers.get("Retry-After"), serverNow()));
}

type Route = keyof paths;
type Query<R extends Route> = paths[R] extends { get: { parameters: { query?: infer Q } } } ? NonNullable<Q> : never;
type Answer<R extends Route> = paths[R] extends {
  get: { responses: { 200: { content: { "application/json": infer A } } } };
}
  ? A
  : never;

/** Reads a public route. What is empty in the query is left out. */
async function read<R extends Route>(route: R, login: string, query?: Query<R>): Promise<Answer<R>> {
  const given = Object.entries<string | number | null>(query ?? {}).filter(([, value]) => value !== null && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  const path = route.replace("{login}", encodeURIComponent(login));
  // Answers may be served stale for a while; that is for the shared cache, not for this browser's.
  const response = await request(search === "" ? path : `${path}?${search}`, { cache: "no-store" });
  return (await response.json()) as Answer<R>;
}

/** A page of a channel's events, newest first; only of some types, if any are named. */
export async function readEvents(
  login: string,
  query: { limit: number; before?: string | null; eventTypes?: readonly string[] },
): Promise<EventPage> {
  const { limit, before = null, eventTypes = [] } = query;
  const { events, next } = await read("/api/channels/{login}/events", login, {
    limit,
    before,
    event_type: eventTypes.join(","),
  });
  return { events: events.filter(isChannelEvent), next };
}

/** Everything that was ever recorded of a channel, by type. */
export async function readCounts(login: string): Promise<Counts> {
  return (await read("/api/channels/{login}/counts", login)).counts;
}

/** A channel's events on each of the last UTC days, the oldest first. */
export async function readDailyCounts(login: string, days: number): Promise<DayCounts[]> {
  return (await read("/api/channels/{login}/counts/daily", login, { days })).days;
}

/** A channel's events in each of the last 60 minutes, the oldest first. */
export async function readMinutelyCounts(login: string): Promise<MinuteCounts[]> {
  return (await read("/api/channels/{login}/counts/minutely", login)).minutes;
}

/** The channels with most events: of the last UTC days or ever (null), of one type or of all (empty). */
export async function readLeaders(days: Window, eventType: string): Promise<Leader[]> {
  return (await read("/api/leaderboard", "", { days, event_type: eventType, limit: 25 })).channels;
}

/** The headers by which the API knows who asks. A viewer may have a cookie instead, and needs none. */
export type Credentials = Readonly<Record<string, string>>;

export const bearer = (token: string): Credentials => ({ Authorization: `Bearer ${token}` });

/** Asks to follow a channel, as a viewer. */
export async function watchChannel(login: string, headers: Credentials): Promise<Watch> {
  const response = await request(`/api/channels/${encodeURIComponent(login)}/watch`, { method: "POST", headers });
  return (await response.json()) as Watch;
}

const overlay = (login: string): string => `/api/overlays/${encodeURIComponent(login)}`;

/** Asks to follow a channel, with an overlay's key. */
export async function watchOverlay(login: string, headers: Credentials): Promise<Watch> {
  return (await (await request(`${overlay(login)}/watch`, { method: "POST", headers })).json()) as Watch;
}

/** Makes a key for the viewer's overlay of a channel; the one before stops working. */
export async function makeOverlayKey(login: string, headers: Credentials): Promise<string> {
  const response = await request(`${overlay(login)}/key`, { method: "POST", headers });
  return ((await response.json()) as { key: string }).key;
}

/** Ends the viewer's overlay of a channel: its key stops working. */
export async function revokeOverlayKey(login: string, headers: Credentials): Promise<void> {
  await request(`${overlay(login)}/key`, { method: "DELETE", headers });
}

/** Where a sign-in begins, without the `state` and the `nonce` of this browser. */
export async function readSignInUrl(as: "viewer" | "streamer"): Promise<URL> {
  const response = await request(`/api/session?as=${as}`, { cache: "no-store" });
  return new URL(((await response.json()) as Schemas["SignInPage"]).url);
}

/** Finishes a sign-in: from now on the viewer's cookie comes with each request. */
export async function beginSession(signIn: Schemas["SignIn"]): Promise<void> {
  await request("/api/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(signIn),
  });
}

/** Ends the viewer's session on this device, or on all of theirs. */
export async function endSession(devices: "this" | "all"): Promise<void> {
  await request(`/api/session?devices=${devices}`, { method: "DELETE" });
}
