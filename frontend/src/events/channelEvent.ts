/** One thing that happened on a channel. Times are RFC 3339 UTC; `payload` is Twitch's `event` object. */
export interface ChannelEvent {
  id: string;
  streamer_id: string;
  streamer_name: string;
  event_type: string;
  occurred_at: string;
  created_at: string;
  payload: Record<string, unknown>;
}

/** Whether a value from the network is an event: a frame that is not must not break the feed. */
export function isChannelEvent(value: unknown): value is ChannelEvent {
  if (typeof value !== "object" || value === null) return false;
  const event = value as Record<string, unknown>;
  return (
    ["id", "streamer_id", "streamer_name", "event_type"].every((key) => typeof event[key] === "string") &&
    ["occurred_at", "created_at"].every((key) => !Number.isNaN(Date.parse(String(event[key])))) &&
    typeof event.payload === "object" &&
    event.payload !== null
  );
}
