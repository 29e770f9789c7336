import { answer } from "./api";
import { isChannelEvent, type ChannelEvent } from "./events/channelEvent";

/** How often each event type occurred. */
export type Counts = Readonly<Record<string, number>>;

export interface EventPage {
  events: ChannelEvent[];
  /** Where the next page begins; null on the last one. */
  next: string | null;
}

export interface Leader {
  streamer_id: string;
  streamer_name: string;
  event_count: number;
}

/** What everybody may read of a channel. All throw `ApiError`, or what `fetch` throws when there is no connection. */
async function read<Body>(path: string, query: Record<string, string | number | null> = {}): Promise<Body> {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  // Answers may be served stale for a while; that is for the shared cache, not for this browser's.
  return (await answer(await fetch(`/api/${path}${search && `?${search}`}`, { cache: "no-store" }))) as Body;
}

const channel = (login: string): string => `channels/${encodeURIComponent(login)}`;

/** A page of a channel's events, newest first; only of some types, if any are named. */
export async function readEvents(
  login: string,
  query: { limit: number; before?: string | null; eventTypes?: readonly string[] },
): Promise<EventPage> {
  const { limit, before = null, eventTypes = [] } = query;
  const page = await read<{ events: unknown[]; next: string | null }>(`${channel(login)}/events`, {
    limit,
    before,
    event_type: eventTypes.join(","),
  });
  return { events: page.events.filter(isChannelEvent), next: page.next };
}

/** Everything that was ever recorded of a channel, by type. */
export async function readCounts(login: string): Promise<Counts> {
  return (await read<{ counts: Counts }>(`${channel(login)}/counts`)).counts;
}

/** A channel's events on each of the last UTC days, the oldest first. */
export async function readDailyCounts(login: string, days: number): Promise<{ date: string; counts: Counts }[]> {
  return (await read<{ days: { date: string; counts: Counts }[] }>(`${channel(login)}/counts/daily`, { days })).days;
}

/** A channel's events in each of the last 60 minutes, the oldest first. */
export async function readMinutelyCounts(login: string): Promise<{ start: string; counts: Counts }[]> {
  return (await read<{ minutes: { start: string; counts: Counts }[] }>(`${channel(login)}/counts/minutely`)).minutes;
}

/** The channels with most events: of the last UTC days or ever, of one type or of all. */
export async function readLeaders(query: { days: number | null; eventType: string | null }): Promise<Leader[]> {
  const { channels } = await read<{ channels: Leader[] }>("leaderboard", {
    days: query.days,
    event_type: query.eventType,
    limit: 25,
  });
  return channels;
}
