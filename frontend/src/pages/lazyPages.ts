/** The pages that the first one does without: one file, so that nothing else has to come for any of them. */

export { default as CallbackPage } from "./CallbackPage.vue";
export { default as LeaderboardPage } from "./LeaderboardPage.vue";
export { default as NotFoundPage } from "./NotFoundPage.vue";
export { default as OverlayPage } from "./OverlayPage.vue";
export { default as OverlaySetupPage } from "./OverlaySetupPage.vue";
export { default as WatchPage } from "./WatchPage.vue";
