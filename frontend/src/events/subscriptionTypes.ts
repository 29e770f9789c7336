import table from "../../../lambdas/subscription_types.json";

/** The site's part of a row of the table of subscription types, which the functions share. */
export interface SubscriptionType {
  event_type: string;
  /** Whose id each field of the condition takes. */
  condition: Record<string, string>;
  /** Who can give the consent that Twitch asks for. */
  consent: string;
  /** How its events read: see `sentences.ts`. */
  sentence: readonly { when?: Record<string, unknown>; text: string }[];
  /** How its event type looks: see `eventTypes.ts`. Where an event type has several rows, it is in the first. */
  display?: object;
}

export const SUBSCRIPTION_TYPES: readonly SubscriptionType[] = table;
