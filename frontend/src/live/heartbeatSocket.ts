import type { Environment } from "./environment";

const MINUTE = 60_000;

/** The server forgets a connection after 15 minutes without a ping; API Gateway closes it after 10. */
const PING_EVERY = 4 * MINUTE;
const PONG_WITHIN = 10_000;

/** A socket that neither opens nor fails by then is given up. */
const OPEN_WITHIN = 15_000;

/** What a {@link HeartbeatSocket} reports. After `lost` it reports nothing more. */
export interface Listener {
  opened(): void;
  received(data: unknown): void;
  lost(): void;
}

/** A WebSocket with a ping every few minutes, since a dead connection does not report itself. */
export class HeartbeatSocket {
  #socket: WebSocket;
  #openedAt: number | null = null;
  #cancelPing: () => void;
  #cancelPong: (() => void) | null = null;

  constructor(
    url: string,
    private readonly environment: Environment,
    private readonly listener: Listener,
  ) {
    this.#cancelPing = environment.clock.after(OPEN_WITHIN, () => {
      this.#lost();
    });
    this.#socket = environment.openWebSocket(url);
    this.#socket.onopen = () => {
      this.#openedAt = environment.clock.now();
      this.#schedulePing();
      listener.opened();
    };
    this.#socket.onmessage = (message: MessageEvent<unknown>) => {
      // Whatever arrives proves that the connection is alive.
      this.#cancelPong?.();
      this.#cancelPong = null;
      listener.received(message.data);
    };
    // An error is always followed by a close, and tells a page nothing more.
    this.#socket.onclose = () => {
      this.#lost();
    };
  }

  /** For how long it has been open, in milliseconds. */
  get age(): number {
    return this.#openedAt === null ? 0 : this.environment.clock.now() - this.#openedAt;
  }

  /** Asks whether the connection is alive: without an answer it is lost. */
  ping(): void {
    this.#socket.send(JSON.stringify({ action: "ping" }));
    this.#cancelPong ??= this.environment.clock.after(PONG_WITHIN, () => {
      this.#lost();
    });
  }

  /** Closes it; it reports nothing more. */
  close(): void {
    this.#cancelPing();
    this.#cancelPong?.();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #schedulePing(): void {
    this.#cancelPing();
    this.#cancelPing = this.environment.clock.after(PING_EVERY, () => {
      this.ping();
      this.#schedulePing();
    });
  }

  #lost(): void {
    this.close();
    this.listener.lost();
  }
}
