import type { Subscription } from "../api";
import { SUBSCRIPTION_TYPES } from "../events/subscriptionTypes";

/** The groups that the page shows subscriptions in, in its order. */
const STANDINGS = ["live", "starting", "consent", "limited", "stopped"] as const;
export type Standing = (typeof STANDINGS)[number];

/** Twitch's reasons for ending a subscription whose consent is gone. */
const CONSENT_GONE = ["authorization_revoked", "moderator_removed"];

/** Other reasons why there is no subscription, for people; a new one is shown as Twitch or the API calls it. */
const REASONS: Record<string, string> = {
  notification_failures_exceeded: "Twitch could not deliver it for a while",
  twitch_unavailable: "Twitch does not answer right now",
  rate_limited: "Twitch asked to wait",
  lost_at_twitch: "Twitch lost it",
  user_removed: "the channel is closed",
  version_removed: "Twitch does not offer it any more",
  webhook_callback_verification_failed: "Twitch could not reach Fanfare",
};

export function standingOf({ status, reason }: Subscription): Standing {
  if (status === "enabled") return "live";
  if (reason === "consent_required" || CONSENT_GONE.includes(reason ?? "")) return "consent";
  if (reason === "limited") return "limited";
  if (status === "pending" || status === "absent") return "starting";
  return "stopped";
}

/** The subscriptions by standing, without empty groups. */
export function byStanding(subscriptions: readonly Subscription[]): { standing: Standing; subscriptions: Subscription[] }[] {
  return STANDINGS.map((standing) => ({
    standing,
    subscriptions: subscriptions.filter((one) => standingOf(one) === standing),
  })).filter((group) => group.subscriptions.length > 0);
}

/** The reason for a subscription's standing, if there is one to show. */
export function why(subscription: Subscription): string | null {
  switch (standingOf(subscription)) {
    case "live":
    case "starting":
    case "limited":
      return null;
    case "consent":
      return CONSENT_GONE.includes(subscription.reason ?? "")
        ? "the consent was taken back"
        : moderatorsToo(subscription.event_type)
          ? "a moderator’s consent is enough"
          : null;
    case "stopped": {
      const reason = subscription.reason ?? "";
      const known = Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined;
      return known ?? (reason === "" ? null : reason.replaceAll("_", " "));
    }
  }
}

function moderatorsToo(eventType: string): boolean {
  return SUBSCRIPTION_TYPES.some((row) => row.event_type === eventType && row.consent === "moderator");
}
