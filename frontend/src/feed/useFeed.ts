import { computed, onScopeDispose, ref, shallowRef, watch, type Ref } from "vue";

import { readEvents } from "../api";
import { displayOf, typesOf, type Family } from "../events/eventTypes";
import { worthTelling, type ToldEvent } from "../events/told";
import { FEED_SIZE, merge, type FeedItem } from "../live/mergeEvents";
import { rowsOf, sortIntoBursts, type Burst } from "./bursts";

/** How many rows are shown while the feed follows what happens. */
const SHOWN = 10;
const HISTORY_PAGE = 100;

/** In a flood the feed is redrawn at most this often (ms). */
const REDRAW_EVERY = 250;

/** How far the viewer has gone back: not at all, to a page that is loading, to one with more behind it, to the end. */
type History = "closed" | "loading" | "more" | "end" | "failed";

/** The channel's events as rows, newest first, that follow what happens until somebody reads them. */
export function useFeed(login: string, live: () => readonly FeedItem[]) {
  const items = useThrottled(live, REDRAW_EVERY);
  /** Only these are shown; all if it is empty. */
  const families = ref<ReadonlySet<Family>>(new Set());
  /** What is shown while the rows stand still for somebody who reads them, and the bursts when that began. */
  const frozen = shallowRef<{ items: readonly FeedItem[]; bursts: readonly Burst[] } | null>(null);
  const history = ref<History>("closed");
  let cursor: string | null = null;
  /** The number of the latest request: an answer to an earlier one is dropped. */
  let reading = 0;

  const bursts = shallowRef<Burst[]>([]);
  watch(
    items,
    (now) => {
      bursts.value = sortIntoBursts(toldOf(now), bursts.value);
    },
    { immediate: true },
  );
  const matches = (eventType: string): boolean => families.value.size === 0 || families.value.has(displayOf(eventType).family);
  const shown = computed(() => (frozen.value ? sortIntoBursts(toldOf(frozen.value.items), frozen.value.bursts) : bursts.value));
  const rows = computed(() => {
    const all = rowsOf(shown.value).filter((row) => matches(row.eventType));
    return history.value === "closed" ? all.slice(0, SHOWN) : all;
  });

  const seen = computed(() => new Set(frozen.value?.items.map((item) => item.event.id)));
  /** How many events have come since the rows stand still, and whether it may be more. */
  const waiting = computed(() => {
    if (frozen.value === null) return { count: 0, more: false };
    const fresh = toldOf(items.value).filter(({ id, event_type }) => !seen.value.has(id) && matches(event_type));
    return { count: fresh.length, more: items.value.length === FEED_SIZE && !items.value.some(({ event }) => seen.value.has(event.id)) };
  });

  function pause(): void {
    frozen.value ??= { items: items.value, bursts: bursts.value };
  }

  function resume(): void {
    reading += 1;
    frozen.value = null;
    history.value = "closed";
    cursor = null;
  }

  /** Goes back by a page; the rows stand still from then on. */
  async function goBack(): Promise<void> {
    pause();
    history.value = "loading";
    const mine = (reading += 1);
    try {
      const eventTypes = typesOf(families.value);
      let before;
      // The newest pages may hold only what is shown already: go on until there is something new.
      do {
        before = rows.value.length;
        const page = await readEvents(login, { limit: HISTORY_PAGE, before: cursor, eventTypes });
        if (mine !== reading) return;
        frozen.value = { items: merge(frozen.value?.items ?? [], page.events, "recorded", Infinity), bursts: frozen.value?.bursts ?? [] };
        cursor = page.next;
      } while (cursor !== null && rows.value.length === before);
      history.value = cursor === null ? "end" : "more";
    } catch {
      if (mine === reading) history.value = "failed";
    }
  }

  // Another choice of families starts again with the newest.
  watch(families, resume);

  return {
    rows,
    families,
    /** The families of what has happened, to choose from. */
    present: computed(() => new Set(items.value.map((item) => displayOf(item.event.event_type).family))),
    paused: computed(() => frozen.value !== null),
    waiting,
    history,
    pause,
    resume,
    goBack,
  };
}

function toldOf(items: readonly FeedItem[]): ToldEvent[] {
  return worthTelling(items.map((item) => item.event));
}

/** A value that changes at once, and then at most every so many ms. */
function useThrottled<T>(source: () => T, everyMs: number): Readonly<Ref<T>> {
  const value = shallowRef(source());
  let timer: ReturnType<typeof setTimeout> | undefined;
  const update = (): void => {
    timer = undefined;
    if (value.value === source()) return;
    value.value = source();
    timer = setTimeout(update, everyMs);
  };
  watch(source, () => {
    if (timer === undefined) update();
  });
  onScopeDispose(() => {
    clearTimeout(timer);
  });
  return value;
}
