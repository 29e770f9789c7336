import { ApiError, readRecord, watch, type Channel, type Topic, type Watch } from "../api";
import { backoff, LOSS } from "./backoff";
import { isChannelEvent } from "../events/channelEvent";
import { merge, type FeedItem } from "./mergeEvents";
import { Line } from "./heartbeatSocket";

const MINUTE = 60_000;

/** API Gateway ends every WebSocket after two hours; up to 5 minutes of jitter spread the viewers' returns. */
const RENEW_AFTER = 105 * MINUTE;
const RENEW_JITTER = 5 * MINUTE;

/** A connection that lived this long was a success: the next failure starts the backoff anew. */
const STABLE_AFTER = 60_000;

/**
 * When to read the record after a connection opened. At once for what happened before; then again, because the
 * shared cache may answer up to 12 s late and the recorder needs a moment for what it got while nobody listened.
 */
const CATCH_UP_AFTER = [0, 3_000, 15_000];

/** How far a catch-up reads back: who was away for longer than these pages tell gets the newest events only. */
const CATCH_UP_PAGES = 3;

/**
 * `connecting`, `live`, `reconnecting`, `limited` (the server asked to wait), `offline` (the device says it has no
 * network) and `paused` (nobody has looked for long) pass by themselves; `signed-out`, `unknown-channel` and
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

export interface LiveState {
  readonly status: LiveStatus;
  readonly channel: Channel | null;
  readonly topics: readonly Topic[];
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
  topics: [],
  feed: [],
  record: "unread",
  message: null,
  retryAt: null,
};

export interface Clock {
  now(): number;
  /** Calls `run` once after `ms` milliseconds; the answer cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** What the connection needs of its surroundings. */
export interface Surroundings {
  clock: Clock;
  random: () => number;
  fetch: typeof globalThis.fetch;
  openWebSocket: (url: string) => WebSocket;
  /** Where to ask to follow a channel. */
  watchUrl: (login: string) => string;
  /** What that asks for: the viewer's access token, renewed if need be; null when there is none any more. */
  accessToken: () => Promise<string | null>;
  /** What the device says about its network. Only a hint: a local server answers without one. */
  online: () => boolean;
  /** For how long (ms) a page out of sight keeps its connection; null: for as long as it is there. */
  pauseAfter: number | null;
}

/**
 * Follows one channel: keeps a WebSocket open with a fresh ticket for each attempt, and the newest events in order.
 * Tells `onChange` every new state. Ends with {@link LiveConnection.stop}.
 */
export class LiveConnection {
  #state = INITIAL_STATE;
  /** In a row, without a connection in between that lasted. */
  #failures = 0;
  /** Until when (ms since 1970) the server asked not to be asked. */
  #notBefore = 0;
  /** The connection that serves, and the one that is to replace it. */
  #line: Line | null = null;
  #next: Line | null = null;
  /** The one pending attempt, if any. */
  #cancelRetry: (() => void) | null = null;
  #cancelPause: (() => void) | null = null;
  /** Everything else that is scheduled for the connection that serves. */
  #cancelTimers: (() => void)[] = [];
  /** Whether an attempt is under way, and which one: an abandoned one may still wait for an answer. */
  #attempting = false;
  #attempt = 0;
  #stopped = false;

  constructor(
    readonly login: string,
    private readonly around: Surroundings,
    private readonly onChange: (state: LiveState) => void,
  ) {}

  start(): void {
    void this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#hangUp();
    this.#cancelPause?.();
  }

  /** Tries at once instead of when it is due, unless the server asked to wait: the network or the viewer is back. */
  retry(): void {
    if (this.#cancelRetry && this.around.clock.now() >= this.#notBefore) void this.#connect();
  }

  /** Asks at once whether the connection still lives: the device lost its network. */
  check(): void {
    this.#line?.ping();
  }

  /** The page went out of sight: after a while nobody needs the connection. */
  hidden(): void {
    if (this.around.pauseAfter === null) return;
    this.#cancelPause ??= this.around.clock.after(this.around.pauseAfter, () => {
      if (["signed-out", "unknown-channel", "refused"].includes(this.#state.status)) return;
      this.#hangUp();
      this.#change({ status: "paused", retryAt: null, message: null });
    });
  }

  /** The page is seen again, maybe after a sleep that the connection did not survive. */
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

  /** Opens a connection. One that serves goes on until the new one does. */
  async #connect(): Promise<void> {
    this.#abandon();
    this.#attempting = true;
    const attempt = this.#attempt;
    if (!this.#line) this.#change({ status: this.#state.channel ? "reconnecting" : "connecting", retryAt: null });
    try {
      const token = await this.around.accessToken();
      if (attempt !== this.#attempt) return;
      if (token === null) {
        this.#end("signed-out", null);
        return;
      }
      // What the viewer came for does not wait for the socket.
      if (this.#state.record === "unread") void this.#catchUp();
      const answer = await watch(this.around.fetch, this.around.watchUrl(this.login), token);
      if (attempt !== this.#attempt) return;
      this.#change({ channel: answer.channel, topics: answer.topics, message: null });
      this.#open(answer);
    } catch (error) {
      if (attempt === this.#attempt) this.#failed(error);
    }
  }

  #open(answer: Watch): void {
    const url = `${answer.websocket_url}?ticket=${encodeURIComponent(answer.ticket)}`;
    const line: Line = new Line(url, this.around, {
      opened: () => {
        // The connection that serves is not given up for one that has not answered.
        if (this.#line) line.ping();
        else this.#serve(line);
      },
      heard: (data) => {
        if (line === this.#next) this.#serve(line);
        this.#received(data);
      },
      lost: () => {
        this.#lost(line);
      },
    });
    this.#next = line;
  }

  #serve(line: Line): void {
    this.#dropLine();
    this.#line = line;
    this.#next = null;
    this.#attempting = false;
    this.#change({ status: "live", retryAt: null, message: null });
    for (const delay of CATCH_UP_AFTER) this.#later(delay, () => void this.#catchUp());
    this.#later(RENEW_AFTER + this.around.random() * RENEW_JITTER, () => void this.#connect());
  }

  #lost(line: Line): void {
    if (line === this.#next) {
      this.#next = null;
      this.#retry(null);
      return;
    }
    // A connection that lasted was a success: the backoff starts anew.
    this.#failures = line.age >= STABLE_AFTER ? LOSS - 1 : Math.max(this.#failures, LOSS - 1);
    this.#dropLine();
    if (this.#attempting) this.#change({ status: "reconnecting" });
    else this.#retry(null);
  }

  #failed(error: unknown): void {
    if (!(error instanceof ApiError)) {
      this.#retry(null);
      return;
    }
    const { status, message, retryAfter } = error;
    if (status === 401) this.#end("signed-out", null);
    else if (status === 404) this.#end("unknown-channel", message);
    else if (status >= 400 && status < 500 && status !== 408 && status !== 429) this.#end("refused", message);
    else {
      if (retryAfter !== null) this.#notBefore = this.around.clock.now() + retryAfter;
      this.#retry(message);
    }
  }

  /** Schedules the next attempt: after what the server asked for, plus a random wait that grows with failures. */
  #retry(message: string | null): void {
    this.#abandon();
    this.#failures += 1;
    const now = this.around.clock.now();
    const asked = Math.max(0, this.#notBefore - now);
    const wait = asked + backoff(this.#failures, this.around.random);
    this.#cancelRetry = this.around.clock.after(wait, () => void this.#connect());
    if (this.#line) return;
    const trouble = this.around.online() ? "reconnecting" : "offline";
    this.#change({ status: asked > 0 ? "limited" : trouble, retryAt: now + wait, message });
  }

  /** Only the viewer can change this. */
  #end(status: LiveStatus, message: string | null): void {
    this.#hangUp();
    this.#change({ status, retryAt: null, message });
  }

  #received(data: unknown): void {
    const frame = parseFrame(data);
    if (frame?.type === "events" && Array.isArray(frame.events)) {
      this.#change({ feed: merge(this.#state.feed, frame.events.filter(isChannelEvent), "live") });
    } else if (frame?.type === "topics" && Array.isArray(frame.topics)) {
      this.#change({ topics: frame.topics as Topic[] });
    }
  }

  /** Reads the record back to what is known of it; at first, its newest page. */
  async #catchUp(): Promise<void> {
    const known = new Set(this.#state.feed.filter((item) => item.source === "recorded").map((item) => item.event.id));
    try {
      let before: string | null = null;
      for (let page = 0; page < CATCH_UP_PAGES; page += 1) {
        const { events, next } = await readRecord(this.around.fetch, this.login, before);
        this.#change({ feed: merge(this.#state.feed, events, "recorded"), record: "read" });
        before = next;
        if (before === null || known.size === 0 || events.some((event) => known.has(event.id))) return;
      }
    } catch {
      // The live feed does not depend on the record: a later catch-up or the next connection fills the gap.
      if (this.#state.record === "unread") this.#change({ record: "failed" });
    }
  }

  #later(ms: number, run: () => void): void {
    this.#cancelTimers.push(this.around.clock.after(ms, run));
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

  #dropLine(): void {
    for (const cancel of this.#cancelTimers) cancel();
    this.#cancelTimers = [];
    this.#line?.close();
    this.#line = null;
  }

  #hangUp(): void {
    this.#abandon();
    this.#dropLine();
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
