import { ApiError, isChannelEvent, readEvents, type Channel, type Subscription, type Watch } from "../api";
import { backoff, LOSS } from "./backoff";
import type { Environment } from "./environment";
import { HeartbeatSocket } from "./heartbeatSocket";
import { merge, type FeedItem } from "./mergeEvents";

const MINUTE = 60_000;

/** API Gateway ends every WebSocket after two hours; up to 5 minutes of jitter spread the viewers' returns. */
const RENEW_AFTER = 105 * MINUTE;
const RENEW_JITTER = 5 * MINUTE;

/** A connection that was open for this long was a success: the next failure starts the backoff anew. */
const STABLE_AFTER = 60_000;

/**
 * When to read the recorded events after a connection opened: at once for what happened before, then again, because
 * the shared cache may be 12 s old and the recorder needs a moment for the newest.
 */
const CATCH_UP_AFTER = [0, 3_000, 15_000];

/** Over how long the pages that were told at once that they missed events spread their reads of the record. */
const MISSED_SPREAD = 10_000;

/** They read once more after this: the recorder may be behind, and the shared cache 12 s old. */
const MISSED_AGAIN_AFTER = 15_000;

/** How far a catch-up reads back; a viewer who missed more gets the newest events only. */
const CATCH_UP_PAGES = 3;
const EVENTS_PER_PAGE = 100;

/**
 * `connecting`, `live`, `reconnecting`, `limited` (the server asked to wait), `offline` (the device says it has no
 * network) and `paused` (the page was hidden for long) end by themselves; `signed-out`, `unknown-channel` and
 * `refused` need the viewer.
 */
export type LiveStatus =
  | "connecting"
  | "live"
  | "reconnecting"
  | "limited"
  | "offline"
  | "paused"
  | "signed-out"
  | "unknown-channel"
  | "refused";

/** The states in which nothing is tried again by itself. */
export const FINAL: readonly LiveStatus[] = ["signed-out", "unknown-channel", "refused"];

export interface LiveState {
  readonly status: LiveStatus;
  readonly channel: Channel | null;
  readonly subscriptions: readonly Subscription[];
  readonly feed: readonly FeedItem[];
  /** Whether the channel's recorded events have been read: only then does an empty feed mean "nothing happened". */
  readonly record: "unread" | "read" | "failed";
  /** What the server said when it refused or asked to wait. */
  readonly message: string | null;
  /** When the next attempt is due (ms since 1970), while one is waited for. */
  readonly retryAt: number | null;
}

export const INITIAL_STATE: LiveState = {
  status: "connecting",
  channel: null,
  subscriptions: [],
  feed: [],
  record: "unread",
  message: null,
  retryAt: null,
};

/**
 * Follows one channel: keeps a WebSocket open, with a fresh ticket for each attempt, and the newest events in order.
 * Calls `onChange` with every new state. Ends with {@link LiveConnection.stop}.
 */
export class LiveConnection {
  #state = INITIAL_STATE;
  /** Failures since the last connection that lasted. */
  #failures = 0;
  /** The server asked not to be asked before (ms since 1970). */
  #notBefore = 0;
  /** The connection in use, and the one that is to replace it. */
  #current: HeartbeatSocket | null = null;
  #next: HeartbeatSocket | null = null;
  /** The one pending attempt, if any. */
  #cancelRetry: (() => void) | null = null;
  #cancelPause: (() => void) | null = null;
  /** Everything else that is scheduled for the connection in use. */
  #cancelTimers: (() => void)[] = [];
  /** What is known of missed events: their reads of the record are due, or due and more were missed meanwhile. */
  #missed: "nothing" | "due" | "more" = "nothing";
  /** The recorded events that were known when everything back to them had been read. */
  #caughtUp: ReadonlySet<string> = new Set();
  /** The version of the states of the subscriptions that are shown. */
  #topicsVersion = 0;
  /** Whether an attempt is under way, and its number: an abandoned one may still wait for an answer. */
  #attempting = false;
  #attempt = 0;
  #stopped = false;

  constructor(
    readonly login: string,
    private readonly environment: Environment,
    private readonly onChange: (state: LiveState) => void,
  ) {}

  start(): void {
    void this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#closeAll();
    this.#cancelPause?.();
  }

  /** Tries at once instead of when it is due, unless the server asked to wait: the network or the viewer is back. */
  retryNow(): void {
    if (this.#cancelRetry && this.environment.clock.now() >= this.#notBefore) void this.#connect();
  }

  /** Asks at once whether the connection is alive: the device lost its network. */
  check(): void {
    this.#current?.ping();
  }

  /** The page is hidden: after a while nobody needs the connection. */
  hidden(): void {
    if (this.environment.pauseAfter === null) return;
    this.#cancelPause ??= this.environment.clock.after(this.environment.pauseAfter, () => {
      if (!FINAL.includes(this.#state.status)) this.#end("paused", null);
    });
  }

  /** The page is visible again, maybe after a sleep that the connection did not survive. */
  shown(): void {
    this.#cancelPause?.();
    this.#cancelPause = null;
    if (this.#state.status === "paused") void this.#connect();
    else this.check();
  }

  #change(change: Partial<LiveState>): void {
    if (this.#stopped) return;
    this.#state = { ...this.#state, ...change };
    this.onChange(this.#state);
  }

  /** Opens a connection. The one in use stays until the new one has answered. */
  async #connect(): Promise<void> {
    this.#abandon();
    this.#attempting = true;
    const attempt = this.#attempt;
    if (!this.#current) this.#change({ status: this.#state.channel ? "reconnecting" : "connecting", retryAt: null });
    try {
      const credentials = await this.environment.credentials();
      if (attempt !== this.#attempt) return;
      if (credentials === null) {
        this.#end("signed-out", null);
        return;
      }
      // The events are shown without waiting for the socket.
      if (this.#state.record === "unread") void this.#catchUp();
      const answer = await this.environment.watch(this.login, credentials);
      if (attempt !== this.#attempt) return;
      this.#change({ channel: answer.channel, message: null });
      this.#takeTopics(answer.topics, answer.topics_version);
      this.#open(answer);
    } catch (error) {
      if (attempt === this.#attempt) this.#failed(error);
    }
  }

  #open(answer: Watch): void {
    const url = `${answer.websocket_url}?ticket=${encodeURIComponent(answer.ticket)}`;
    const socket: HeartbeatSocket = new HeartbeatSocket(url, this.environment, {
      opened: () => {
        // The connection in use is not given up for one that has not answered.
        if (this.#current) socket.ping();
        else this.#use(socket);
      },
      received: (data) => {
        if (socket === this.#next) this.#use(socket);
        this.#received(data);
      },
      lost: () => {
        this.#lost(socket);
      },
    });
    this.#next = socket;
  }

  #use(socket: HeartbeatSocket): void {
    this.#closeCurrent();
    this.#current = socket;
    this.#next = null;
    this.#attempting = false;
    this.#change({ status: "live", retryAt: null, message: null });
    for (const delay of CATCH_UP_AFTER) this.#later(delay, () => void this.#catchUp());
    this.#later(RENEW_AFTER + this.environment.random() * RENEW_JITTER, () => void this.#connect());
  }

  #lost(socket: HeartbeatSocket): void {
    if (socket === this.#next) {
      this.#next = null;
      this.#scheduleRetry(null);
      return;
    }
    // A connection that lasted was a success: the backoff starts anew.
    this.#failures = socket.age >= STABLE_AFTER ? LOSS - 1 : Math.max(this.#failures, LOSS - 1);
    this.#closeCurrent();
    if (this.#attempting) this.#change({ status: "reconnecting" });
    else this.#scheduleRetry(null);
  }

  #failed(error: unknown): void {
    if (!(error instanceof ApiError)) {
      this.#scheduleRetry(null);
      return;
    }
    const { status, message, retryAfter } = error;
    if (status === 401) this.#end("signed-out", null);
    else if (status === 404) this.#end("unknown-channel", message);
    else if (status >= 400 && status < 500 && status !== 408 && status !== 429) this.#end("refused", message);
    else {
      if (retryAfter !== null) this.#notBefore = this.environment.clock.now() + retryAfter;
      this.#scheduleRetry(message);
    }
  }

  /** Schedules the next attempt: after what the server asked for, plus a random wait that grows with failures. */
  #scheduleRetry(message: string | null): void {
    this.#abandon();
    this.#failures += 1;
    const now = this.environment.clock.now();
    const asked = Math.max(0, this.#notBefore - now);
    const wait = asked + backoff(this.#failures, this.environment.random);
    this.#cancelRetry = this.environment.clock.after(wait, () => void this.#connect());
    if (this.#current) return;
    const trouble = this.environment.online() ? "reconnecting" : "offline";
    this.#change({ status: asked > 0 ? "limited" : trouble, retryAt: now + wait, message });
  }

  /** Closes everything, and makes no further attempt. */
  #end(status: LiveStatus, message: string | null): void {
    this.#closeAll();
    this.#change({ status, retryAt: null, message });
  }

  #received(data: unknown): void {
    const frame = parseFrame(data);
    if (frame?.type === "events" && Array.isArray(frame.events)) {
      this.#change({ feed: merge(this.#state.feed, frame.events.filter(isChannelEvent), "live") });
      if (frame.missed === true) this.#readMissed();
    } else if (frame?.type === "topics" && Array.isArray(frame.topics)) {
      this.#takeTopics(frame.topics as Subscription[], Number(frame.version));
    } else if (frame?.type === "error" && frame.code === "too_many_connections" && !this.#attempting) {
      // It would take the place of another page, which would come back in turn.
      this.#end("refused", String(frame.message));
    }
  }

  /** Frames may overtake each other and the answers of `watch`: older states never replace newer ones. */
  #takeTopics(topics: Subscription[], version: number): void {
    if (version < this.#topicsVersion) return;
    this.#topicsVersion = version;
    this.#change({ subscriptions: topics });
  }

  /** Reads the record for events that were left out of the frames; once for all of which that is said meanwhile. */
  #readMissed(): void {
    if (this.#missed !== "nothing") {
      this.#missed = "more";
      return;
    }
    this.#missed = "due";
    const wait = this.environment.random() * MISSED_SPREAD;
    this.#later(wait, () => void this.#catchUp());
    this.#later(wait + MISSED_AGAIN_AFTER, () => {
      void this.#catchUp();
      const more = this.#missed === "more";
      this.#missed = "nothing";
      if (more) this.#readMissed();
    });
  }

  /** Reads recorded events back to one that the last whole catch-up knew; the first time, the newest page. */
  async #catchUp(): Promise<void> {
    const known = this.#caughtUp;
    try {
      let before: string | null = null;
      for (let page = 0; page < CATCH_UP_PAGES; page += 1) {
        // A channel that was renamed is recorded under its new name.
        const login = this.#state.channel?.login ?? this.login;
        const { events, next } = await readEvents(login, { limit: EVENTS_PER_PAGE, before });
        this.#change({ feed: merge(this.#state.feed, events, "recorded"), record: "read" });
        before = next;
        if (before === null || known.size === 0 || events.some((event) => known.has(event.id))) break;
      }
      const recorded = this.#state.feed.filter((item) => item.source === "recorded");
      this.#caughtUp = new Set(recorded.map((item) => item.event.id));
    } catch {
      // The live feed does not depend on the record: a later catch-up or the next connection fills the gap.
      if (this.#state.record === "unread") this.#change({ record: "failed" });
    }
  }

  #later(ms: number, run: () => void): void {
    this.#cancelTimers.push(this.environment.clock.after(ms, run));
  }

  /** Ends the attempt that waits or is under way. */
  #abandon(): void {
    this.#attempt += 1;
    this.#attempting = false;
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    this.#next?.close();
    this.#next = null;
  }

  #closeCurrent(): void {
    for (const cancel of this.#cancelTimers) cancel();
    this.#cancelTimers = [];
    // After the next connection opened, the record is read anyway.
    this.#missed = "nothing";
    this.#current?.close();
    this.#current = null;
  }

  #closeAll(): void {
    this.#abandon();
    this.#closeCurrent();
  }
}

function parseFrame(data: unknown): Record<string, unknown> | null {
  if (typeof data !== "string") return null;
  try {
    const frame: unknown = JSON.parse(data);
    return typeof frame === "object" && frame !== null ? (frame as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
