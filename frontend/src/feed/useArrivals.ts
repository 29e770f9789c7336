import { onScopeDispose, ref, shallowRef, watch, type Ref } from "vue";

import { worthTelling } from "../events/told";
import type { FeedItem } from "../live/mergeEvents";
import { serverNow } from "../serverTime";
import { summarise } from "./bursts";

/** Events that come together are announced together, so that a burst does not flood a screen reader. */
const ANNOUNCE_AFTER = 2_000;
/** The least time (ms) between two announcements. */
const ANNOUNCE_EVERY = 15_000;

/** How long an event counts as one that has just arrived. */
const FRESH_FOR = 6_000;

/**
 * Which of the shown events arrived while the viewer was looking, and what to announce to screen readers. Events that
 * were there when the feed was first read are not new; `isRead` is whether it has been read.
 */
export function useArrivals(
  feed: () => readonly FeedItem[],
  isRead: () => boolean,
): { arrived: Readonly<Ref<ReadonlySet<string>>>; announcement: Readonly<Ref<string>> } {
  const arrived = shallowRef<ReadonlySet<string>>(new Set());
  const announcement = ref("");
  const timers = new Set<ReturnType<typeof setTimeout>>();
  /** The number of each type, since in a flood there are thousands of events. */
  const unannounced = new Map<string, number>();
  let announcedAt = -Infinity;
  let announcing = false;

  function later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, ms);
    timers.add(timer);
  }

  function announce(): void {
    announcing = false;
    announcedAt = serverNow();
    announcement.value = summarise(unannounced);
    unannounced.clear();
  }

  watch([feed, isRead] as const, ([items], [before, wasRead]) => {
    const shown = new Set(before.map((item) => item.event.id));
    const sources = new Map(items.map((item) => [item.event.id, item.source]));
    const news = worthTelling(items.map((item) => item.event)).filter(
      ({ id }) => !shown.has(id) && (wasRead || sources.get(id) === "live"),
    );
    if (news.length === 0) return;
    const ids = new Set(news.map((event) => event.id));
    arrived.value = new Set([...[...arrived.value].filter((id) => sources.has(id)), ...ids]);
    later(FRESH_FOR, () => {
      arrived.value = new Set([...arrived.value].filter((id) => !ids.has(id)));
    });
    for (const { event_type } of news) unannounced.set(event_type, (unannounced.get(event_type) ?? 0) + 1);
    if (announcing) return;
    announcing = true;
    later(Math.max(ANNOUNCE_AFTER, announcedAt + ANNOUNCE_EVERY - serverNow()), announce);
  });
  onScopeDispose(() => {
    timers.forEach(clearTimeout);
  });
  return { arrived, announcement };
}
