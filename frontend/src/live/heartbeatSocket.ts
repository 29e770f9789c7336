import type { Surroundings } from "./connection";

const MINUTE = 60_000;

/** The server forgets a connection after 15 minutes without a ping; API Gateway closes it after 10. */
const PING_EVERY = 4 * MINUTE;
const PONG_WITHIN = 10_000;

/** A socket that neither opens nor fails by then is given up. */
const OPEN_WITHIN = 15_000;

/** What a {@link Line} tells. After `lost` it tells nothing more. */
export interface Listener {
  opened(): void;
  heard(data: unknown): void;
  lost(): void;
}

/** One WebSocket: whether it lives is asked every few minutes, since a dead one does not say so. */
export class Line {
  #socket: WebSocket;
  #openedAt: number | null = null;
  #cancelBeat: () => void;
  #cancelPong: (() => void) | null = null;

  constructor(
    url: string,
    private readonly around: Surroundings,
    private readonly listener: Listener,
  ) {
    this.#cancelBeat = around.clock.after(OPEN_WITHIN, () => {
      this.#lost();
    });
    this.#socket = around.openWebSocket(url);
    this.#socket.onopen = () => {
      this.#openedAt = around.clock.now();
      this.#beat();
      listener.opened();
    };
    this.#socket.onmessage = (message: MessageEvent<unknown>) => {
      // Whatever arrives proves that the connection is alive.
      this.#cancelPong?.();
      this.#cancelPong = null;
      listener.heard(message.data);
    };
    // An error is always followed by a close, and tells a page nothing more.
    this.#socket.onclose = () => {
      this.#lost();
    };
  }

  /** For how long it has been open, in milliseconds. */
  get age(): number {
    return this.#openedAt === null ? 0 : this.around.clock.now() - this.#openedAt;
  }

  /** Asks whether it still lives: without an answer it is lost. */
  ping(): void {
    this.#socket.send(JSON.stringify({ action: "ping" }));
    this.#cancelPong ??= this.around.clock.after(PONG_WITHIN, () => {
      this.#lost();
    });
  }

  /** Closes it and tells nothing more. */
  close(): void {
    this.#cancelBeat();
    this.#cancelPong?.();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #beat(): void {
    this.#cancelBeat();
    this.#cancelBeat = this.around.clock.after(PING_EVERY, () => {
      this.ping();
      this.#beat();
    });
  }

  #lost(): void {
    this.close();
    this.listener.lost();
  }
}
