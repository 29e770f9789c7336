import type { ChannelEvent } from "../src/api";
import type { Sentence } from "../src/events/sentences";

/** An event as the server tells it; only what a test is about needs to be said. */
export function event(change: Partial<ChannelEvent> = {}): ChannelEvent {
  return {
    id: "e1",
    streamer_id: "1",
    streamer_name: "marlowe",
    event_type: "stream.online",
    occurred_at: "2026-01-02T03:04:05.123456Z",
    created_at: change.occurred_at ?? "2026-01-02T03:04:05.123456Z",
    payload: { broadcaster_user_id: "1", broadcaster_user_login: "marlowe", broadcaster_user_name: "Marlowe" },
    ...change,
  };
}

/** A sentence as one line of text. */
export function plainText(parts: Sentence): string {
  return parts
    .map((part) => (typeof part === "string" ? part : part.as === "quote" ? `“${part.written}”` : part.written))
    .join("");
}
