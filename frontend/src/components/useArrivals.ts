import { onScopeDispose, ref, shallowRef, watch, type Ref } from "vue";

import type { FeedItem } from "../live/feed";

/** Events that come together are announced together, so that a burst does not flood a screen reader. */
const ANNOUNCE_AFTER = 2_000;

/**
 * Which of the shown events arrived while the viewer was looking, and what to tell those who cannot see them slide
 * in. What was there when the feed was first read is not news; `settled` says when that is done.
 */
export function useArrivals(
  feed: () => readonly FeedItem[],
  settled: () => boolean,
): { arrived: Readonly<Ref<ReadonlySet<string>>>; announcement: Readonly<Ref<string>> } {
  const arrived = shallowRef<ReadonlySet<string>>(new Set());
  const announcement = ref("");
  let unannounced = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  watch([feed, settled] as const, ([items], [before, wasSettled]) => {
    const shown = new Set(before.map((item) => item.event.id));
    const news = items.filter((item) => !shown.has(item.event.id) && (wasSettled || item.source === "live"));
    if (news.length === 0) return;
    arrived.value = new Set([...arrived.value, ...news.map((item) => item.event.id)].slice(-items.length));
    unannounced += news.length;
    timer ??= setTimeout(() => {
      announcement.value = unannounced === 1 ? "1 new event" : `${unannounced} new events`;
      unannounced = 0;
      timer = undefined;
    }, ANNOUNCE_AFTER);
  });
  onScopeDispose(() => {
    clearTimeout(timer);
  });
  return { arrived, announcement };
}
