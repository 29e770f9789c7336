import { onScopeDispose, ref, shallowRef, watch, type Ref } from "vue";

import { readCounts, readMinutelyCounts } from "../api";
import type { FeedItem } from "../live/mergeEvents";
import { addEvents, advanceTo, emptyNumbers, reconcile, type Numbers } from "./numbers";

/** By then what arrived live is in every answer of the read routes: recording and the shared cache take up to 12 s. */
const COMPLETE_AFTER = 15_000;
const READ_AT_LEAST_EVERY = 5 * 60_000;
const CATCH_UP_AFTER = 2_000;
const CLOCK = 5_000;

/**
 * A channel's numbers: read from the record, moved at once by what arrives live, and read again when it is quiet.
 * `state` is whether they have been read; `rereads` grows whenever they have been read again.
 */
export function useNumbers(
  login: string,
  feed: () => readonly FeedItem[],
): { numbers: Readonly<Ref<Numbers>>; state: Ref<"loading" | "read" | "failed">; rereads: Ref<number> } {
  const numbers = shallowRef(emptyNumbers(Date.now()));
  const state = ref<"loading" | "read" | "failed">("loading");
  const rereads = ref(0);
  let lastArrival = -Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;

  async function readAgain(): Promise<void> {
    clearTimeout(timer);
    const asked = Date.now();
    try {
      const [counts, minutes] = await Promise.all([readCounts(login), readMinutelyCounts(login)]);
      const isComplete = lastArrival < asked - COMPLETE_AFTER;
      numbers.value = reconcile(numbers.value, { counts, minutes }, isComplete, Date.now());
      if (state.value !== "loading") rereads.value += 1;
      state.value = "read";
    } catch {
      // What is shown stays, and still moves with what arrives.
      if (state.value === "loading") state.value = "failed";
    }
    if (!stopped) readAfter(lastArrival >= asked - COMPLETE_AFTER ? COMPLETE_AFTER : READ_AT_LEAST_EVERY);
  }

  function readAfter(ms: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => void readAgain(), ms);
  }

  // Synchronous, since a flood may bring more events between two redraws than the feed holds.
  watch(
    feed,
    (items, before) => {
      const known = new Set(before.map((item) => item.event.id));
      const fresh = items.filter((item) => !known.has(item.event.id));
      const live = fresh.filter((item) => item.source === "live").map((item) => item.event);
      if (live.length > 0) {
        lastArrival = Date.now();
        numbers.value = addEvents(numbers.value, live, lastArrival);
      }
      // What came only from the record was missed while there was no connection: the record has counted it.
      if (fresh.length > 0) readAfter(live.length > 0 ? COMPLETE_AFTER + 1 : CATCH_UP_AFTER);
    },
    { flush: "sync" },
  );
  const clock = setInterval(() => {
    numbers.value = advanceTo(numbers.value, Date.now());
  }, CLOCK);
  onScopeDispose(() => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(clock);
  });
  void readAgain();
  return { numbers, state, rereads };
}
