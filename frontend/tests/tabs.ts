/** Channels between the tabs of one test; those of the tests before it do not hear them. */
export function tabs(): typeof BroadcastChannel {
  const open: Tab[] = [];
  class Tab {
    onmessage: ((message: { data: unknown }) => void) | null = null;

    constructor() {
      open.push(this);
    }

    postMessage(data: unknown): void {
      for (const other of open) if (other !== this) queueMicrotask(() => other.onmessage?.({ data }));
    }
  }
  return Tab as unknown as typeof BroadcastChannel;
}
