import table from "../../../lambdas/subscriptions/topics.json";
import type { Topic } from "../api";

/** How a topic stands, in the order in which the page tells of it. */
export const STANDINGS = ["live", "starting", "consent", "limited", "stopped"] as const;
export type Standing = (typeof STANDINGS)[number];

/** Twitch's reasons for ending a subscription whose consent is gone. */
const CONSENT_GONE = ["authorization_revoked", "moderator_removed"];

/** What else ended or kept away a topic, for people; anything new is shown as Twitch and the API call it. */
const REASONS: Record<string, string> = {
  notification_failures_exceeded: "Twitch could not deliver it for a while",
  twitch_unavailable: "Twitch does not answer right now",
  rate_limited: "Twitch asked to wait",
  lost_at_twitch: "Twitch lost it",
  user_removed: "the channel is closed",
  version_removed: "Twitch does not offer it any more",
  webhook_callback_verification_failed: "Twitch could not reach Fanfare",
};

export function standingOf({ status, reason }: Topic): Standing {
  if (status === "enabled") return "live";
  if (reason === "consent_required" || CONSENT_GONE.includes(reason ?? "")) return "consent";
  if (reason === "limited") return "limited";
  if (status === "pending" || status === "absent") return "starting";
  return "stopped";
}

/** The topics of each standing that there is any of. */
export function byStanding(topics: readonly Topic[]): { standing: Standing; topics: Topic[] }[] {
  return STANDINGS.map((standing) => ({
    standing,
    topics: topics.filter((topic) => standingOf(topic) === standing),
  })).filter((group) => group.topics.length > 0);
}

/** Why a topic stands as it does, if there is more to say of it than that. */
export function why(topic: Topic): string | null {
  switch (standingOf(topic)) {
    case "live":
    case "starting":
    case "limited":
      return null;
    case "consent":
      return CONSENT_GONE.includes(topic.reason ?? "")
        ? "the consent was taken back"
        : moderatorsToo(topic.event_type)
          ? "a moderator’s consent is enough"
          : null;
    case "stopped": {
      const reason = topic.reason ?? "";
      const known = Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined;
      return known ?? (reason === "" ? null : reason.replaceAll("_", " "));
    }
  }
}

function moderatorsToo(eventType: string): boolean {
  return table.some((row) => row.event_type === eventType && row.consent === "moderator");
}
