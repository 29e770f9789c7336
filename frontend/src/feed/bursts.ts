import type { ChannelEvent } from "../api";
import { displayOf, tally } from "../events/eventTypes";

/** Events of a type that follow the first of them within this time belong to one burst. */
const WINDOW = 60_000;

/** The least number that is shown as one row: two names say more than "2 new followers". */
const SHOWN_TOGETHER = 3;

/** Events of one type that came close together. Types that do not come in bursts have one event in each. */
export interface Burst {
  /** The id of its first event: it stays the same while the burst grows. */
  readonly key: string;
  readonly startedAt: number;
  /** How many events it has had: more than `events` once the oldest are no longer held. */
  readonly count: number;
  /** Newest first. */
  readonly events: readonly ChannelEvent[];
}

/**
 * Sorts events (newest first) into bursts (the one that began last first).
 *
 * An event stays in the burst that it was in before, so that rows neither jump nor count again when events arrive late
 * or the oldest leave. A burst keeps its place while it grows.
 */
export function sortIntoBursts(events: readonly ChannelEvent[], before: readonly Burst[] = []): Burst[] {
  const earlier = new Map(before.flatMap((burst) => burst.events.map((event) => [event.id, burst] as const)));
  const bursts = new Map<string, { key: string; startedAt: number; count: number; events: ChannelEvent[] }>();
  const newest = new Map<string, string>();
  for (const event of [...events].reverse()) {
    const at = Date.parse(event.occurred_at);
    const was = earlier.get(event.id);
    const open = bursts.get(newest.get(event.event_type) ?? "");
    const joins = displayOf(event.event_type).bursts && open !== undefined && at - open.startedAt < WINDOW;
    const key = was?.key ?? (joins ? open.key : event.id);
    const burst = bursts.get(key);
    if (burst) {
      burst.events.unshift(event);
      if (!was) burst.count += 1;
    } else {
      bursts.set(key, { key, startedAt: was?.startedAt ?? at, count: was?.count ?? 1, events: [event] });
    }
    newest.set(event.event_type, key);
  }
  return [...bursts.values()].reverse().sort((a, b) => b.startedAt - a.startedAt);
}

/** What the feed shows as one line: an event, or a burst of them. */
export interface Row {
  readonly key: string;
  readonly eventType: string;
  readonly count: number;
  /** Newest first, at least one. */
  readonly events: readonly [ChannelEvent, ...ChannelEvent[]];
  /** The channel's previous event of the same type, if known. */
  readonly before: ChannelEvent | undefined;
}

/** The rows of some bursts, newest first; a burst that is too small for a row of its own has one for each event. */
export function rowsOf(bursts: readonly Burst[]): Row[] {
  const rows: Row[] = [];
  const before = new Map<string, ChannelEvent>();
  for (const burst of [...bursts].reverse()) {
    const together = burst.count >= SHOWN_TOGETHER;
    const groups = together ? [burst.events] : burst.events.map((event) => [event]).reverse();
    for (const [newest, ...others] of groups) {
      if (newest === undefined) continue;
      rows.push({
        key: together ? burst.key : newest.id,
        eventType: newest.event_type,
        count: together ? burst.count : 1,
        events: [newest, ...others],
        before: before.get(newest.event_type),
      });
      before.set(newest.event_type, newest);
    }
  }
  return rows.reverse();
}

/** What happened, for screen readers, from the number of each type: "12 new followers, 1 raid". */
export function summarise(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([eventType, n]) => tally(n, eventType)).join(", ");
}
