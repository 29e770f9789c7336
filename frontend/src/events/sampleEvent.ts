import type { ChannelEvent } from "../api";
import { serverNow } from "../serverTime";

let made = 0;

/** An event that never happened, for a page to show what events look like. */
export function sampleEvent(event_type: string, payload: Record<string, unknown>, secondsAgo = 0): ChannelEvent {
  made += 1;
  const at = new Date(serverNow() - secondsAgo * 1_000).toISOString();
  return {
    id: `sample-${made}`,
    streamer_id: "1",
    streamer_name: "marlowe",
    event_type,
    occurred_at: at,
    created_at: at,
    payload,
  };
}
