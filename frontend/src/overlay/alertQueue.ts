import type { ChannelEvent } from "../api";
import { displayOf } from "../events/eventTypes";
import { isRecipient, thingOf, worthTelling, type ToldEvent } from "../events/told";
import { rowsOf, sortIntoBursts, type Row } from "../feed/bursts";
import type { Clock } from "../live/environment";
import type { OverlayOptions } from "./overlayOptions";

/** The pause (ms) between two alerts, so that a viewer sees that there are two. */
const GAP = 400;

/** What happened longer ago (ms) is no alert any more: a computer may wake after hours, or a queue be long. */
const NEWS_FOR = 60_000;

/** If more wait, the oldest are dropped. */
const MOST_WAITING = 200;

/** How many events are remembered as announced: more than the feed holds, so that none is announced twice. */
const MOST_REMEMBERED = 1_000;

/** While so many alerts wait, each stays for this part of its time. */
const HURRY_FROM = 3;
const HURRY = 0.5;

/**
 * Shows alerts one after the other, each once. Those that wait are kept together in bursts ("12 new followers"), so
 * that a wave of followers takes the time of one alert, and alerts do not lag behind the stream.
 */
export class AlertQueue {
  #waiting: ToldEvent[] = [];
  #seen = new Set<string>();
  #cancel: (() => void) | null = null;

  /** `show` is called with each alert, and with null when it ends. */
  constructor(
    private readonly clock: Clock,
    private readonly options: Pick<OverlayOptions, "families" | "seconds">,
    private readonly show: (alert: Row | null) => void,
  ) {}

  /**
   * Takes what is known of the channel's events, newest first, and adds those to announce. What was added or ignored
   * before is left out, and so are the recipients of gifts, since the gift is announced.
   */
  push(events: readonly ChannelEvent[]): void {
    const fresh = worthTelling(events).filter(
      (event) =>
        !this.#seen.has(thingOf(event)) &&
        !isRecipient(event) &&
        this.options.families.has(displayOf(event.event_type).family),
    );
    this.ignore(events);
    this.#waiting = [...fresh, ...this.#waiting].slice(0, MOST_WAITING);
    if (!this.#cancel) this.#next();
  }

  /** Remembers events that are not to be announced, such as those from before the overlay was opened. */
  ignore(events: readonly ChannelEvent[]): void {
    for (const thing of events.map(thingOf)) {
      // Added again, so that the set is in the order of the last mention.
      this.#seen.delete(thing);
      this.#seen.add(thing);
    }
    // OBS may show an overlay for days: the set must not grow for ever.
    for (const id of this.#seen) {
      if (this.#seen.size <= MOST_REMEMBERED) break;
      this.#seen.delete(id);
    }
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#waiting = [];
  }

  #next(): void {
    this.#cancel = null;
    const now = this.clock.now();
    this.#waiting = this.#waiting.filter(({ occurred_at }) => now - Date.parse(occurred_at) <= NEWS_FOR);
    const rows = rowsOf(sortIntoBursts(this.#waiting));
    const alert = rows.pop();
    if (alert === undefined) return;
    const shown = new Set(alert.events.map(({ id }) => id));
    this.#waiting = this.#waiting.filter(({ id }) => !shown.has(id));
    this.show(alert);
    const stays = this.options.seconds * 1_000 * (rows.length >= HURRY_FROM ? HURRY : 1);
    this.#cancel = this.clock.after(stays, () => {
      this.show(null);
      this.#cancel = this.clock.after(GAP, () => {
        this.#next();
      });
    });
  }
}
