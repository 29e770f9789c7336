import { ApiError, newestEvents, watch, type Channel, type Topic, type Watch } from "./api";
import { backoff } from "./backoff";
import { isChannelEvent } from "./events";
import { merge, type FeedItem } from "./feed";

const MINUTE = 60_000;

/** The server forgets a connection after 15 minutes without a ping; API Gateway closes it after 10. */
const PING_EVERY = 4 * MINUTE;
const PONG_WITHIN = 10_000;

/** API Gateway ends every WebSocket after two hours; up to 5 minutes of jitter spread the viewers' returns. */
const RENEW_AFTER = 110 * MINUTE;
const RENEW_JITTER = 5 * MINUTE;

/** A connection that lived this long was a success: the next failure starts the backoff anew. */
const STABLE_AFTER = 30_000;

/** A socket that neither opens nor fails by then is given up. */
const OPEN_WITHIN = 15_000;

/**
 * When to read the record after a connection opened. At once for what happened before; then again, because the
 * shared cache may answer up to 12 s late and the recorder needs a moment for what it got while nobody listened.
 * One page is always enough: the ten newest events are among the ten newest recorded and those that came live.
 */
const CATCH_UP_AFTER = [0, 3_000, 15_000];

/**
 * `connecting`, `live`, `reconnecting` and `offline` (the device says it has no network) pass by themselves;
 * `signed-out`, `unknown-channel` and `refused` need the viewer.
 */
export type LiveStatus =
  | "connecting"
  | "live"
  | "reconnecting"
  | "offline"
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
  /** When the next attempt is due (ms since 1970), if the server asked to wait. */
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
}

/**
 * Follows one channel: keeps a WebSocket open with a fresh ticket for each attempt, and the newest events in order.
 * Tells `onChange` every new state. Ends with {@link LiveConnection.stop}.
 */
export class LiveConnection {
  #state = INITIAL_STATE;
  #failures = 0;
  #openedAt: number | null = null;
  #socket: WebSocket | null = null;
  /** The one pending attempt, if any. */
  #cancelRetry: (() => void) | null = null;
  #cancelPong: (() => void) | null = null;
  /** Everything else that is scheduled for the current socket. */
  #cancelTimers: (() => void)[] = [];
  /** Distinguishes the current attempt from one that was abandoned while it waited for an answer. */
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
    this.#abandon();
  }

  /** The device has its network back: no reason to wait any longer. */
  wentOnline(): void {
    if (this.#state.status === "offline") void this.#connect();
  }

  /**
   * Asks at once whether the connection still lives: when the device lost its network, or when the page came back
   * to the front, maybe after a sleep that the socket did not survive.
   */
  check(): void {
    if (this.#state.status === "live") this.#ping();
  }

  #change(change: Partial<LiveState>): void {
    if (this.#stopped) return;
    this.#state = { ...this.#state, ...change };
    this.onChange(this.#state);
  }

  async #connect(): Promise<void> {
    this.#abandon();
    const attempt = this.#attempt;
    this.#change({ status: this.#state.channel ? "reconnecting" : "connecting" });
    try {
      const token = await this.around.accessToken();
      if (attempt !== this.#attempt) return;
      if (token === null) {
        this.#change({ status: "signed-out", retryAt: null, message: null });
        return;
      }
      // What the viewer came for does not wait for the socket.
      if (this.#state.record === "unread") void this.#catchUp();
      const answer = await watch(this.around.fetch, this.around.watchUrl(this.login), token);
      if (attempt !== this.#attempt) return;
      this.#change({ channel: answer.channel, topics: answer.topics, retryAt: null, message: null });
      this.#open(answer);
    } catch (error) {
      if (attempt === this.#attempt) this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const status = error instanceof ApiError ? error.status : null;
    const message = error instanceof ApiError ? error.message : null;
    if (status === 401) {
      this.#change({ status: "signed-out", retryAt: null, message: null });
    } else if (status === 404) {
      this.#change({ status: "unknown-channel", retryAt: null, message });
    } else if (status !== null && status >= 400 && status < 500 && status !== 408 && status !== 429) {
      this.#change({ status: "refused", retryAt: null, message });
    } else {
      this.#retry(error instanceof ApiError ? error.retryAfter : null, message);
    }
  }

  /** Schedules the next attempt: after what the server asked for, plus a random wait that grows with failures. */
  #retry(asked: number | null, message: string | null): void {
    this.#abandon();
    this.#failures += 1;
    const wait = (asked ?? 0) + backoff(this.#failures, this.around.random);
    this.#cancelRetry = this.around.clock.after(wait, () => void this.#connect());
    this.#change({
      status: this.around.online() ? "reconnecting" : "offline",
      retryAt: asked === null ? null : this.around.clock.now() + wait,
      message,
    });
  }

  #open(answer: Watch): void {
    const url = `${answer.websocket_url}?ticket=${encodeURIComponent(answer.ticket)}`;
    const socket = this.around.openWebSocket(url);
    this.#socket = socket;
    this.#later(OPEN_WITHIN, () => {
      if (this.#openedAt === null) this.#lost();
    });
    socket.onopen = () => {
      this.#opened();
    };
    socket.onmessage = (message: MessageEvent<unknown>) => {
      this.#received(message.data);
    };
    // An error is always followed by a close, and tells a page nothing more.
    socket.onclose = () => {
      this.#lost();
    };
  }

  #opened(): void {
    this.#openedAt = this.around.clock.now();
    this.#change({ status: "live" });
    for (const delay of CATCH_UP_AFTER) this.#later(delay, () => void this.#catchUp());
    this.#later(RENEW_AFTER + this.around.random() * RENEW_JITTER, () => void this.#connect());
    const beat = (): void => {
      this.#ping();
      this.#later(PING_EVERY, beat);
    };
    this.#later(PING_EVERY, beat);
  }

  #lost(): void {
    if (this.#openedAt !== null && this.around.clock.now() - this.#openedAt >= STABLE_AFTER) this.#failures = 0;
    this.#retry(null, null);
  }

  #ping(): void {
    this.#socket?.send(JSON.stringify({ action: "ping" }));
    this.#cancelPong ??= this.around.clock.after(PONG_WITHIN, () => {
      this.#lost();
    });
  }

  #received(data: unknown): void {
    // Whatever arrives proves that the connection is alive.
    this.#cancelPong?.();
    this.#cancelPong = null;
    const frame = parseFrame(data);
    if (frame?.type === "events" && Array.isArray(frame.events)) {
      this.#change({ feed: merge(this.#state.feed, frame.events.filter(isChannelEvent), "live") });
    } else if (frame?.type === "topics" && Array.isArray(frame.topics)) {
      this.#change({ topics: frame.topics as Topic[] });
    }
  }

  async #catchUp(): Promise<void> {
    try {
      const events = await newestEvents(this.around.fetch, this.login);
      this.#change({ feed: merge(this.#state.feed, events, "recorded"), record: "read" });
    } catch {
      // The live feed does not depend on the record: a later catch-up or the next connection fills the gap.
      if (this.#state.record === "unread") this.#change({ record: "failed" });
    }
  }

  #later(ms: number, run: () => void): void {
    this.#cancelTimers.push(this.around.clock.after(ms, run));
  }

  /** Ends the current attempt: its timers, its socket and whatever answers it still waits for. */
  #abandon(): void {
    this.#attempt += 1;
    this.#openedAt = null;
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    this.#cancelPong?.();
    this.#cancelPong = null;
    for (const cancel of this.#cancelTimers) cancel();
    this.#cancelTimers = [];
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
      this.#socket = null;
    }
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
