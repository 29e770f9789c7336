import { nextTick } from "vue";
import { createRouter, createWebHistory, START_LOCATION, type Router } from "vue-router";

import { parseChannel } from "./channelName";
import HomePage from "./pages/HomePage.vue";
import { retryUntilDone } from "./retryUntilDone";

/** Whether this is an overlay, which OBS shows over a stream: there is nothing on it but alerts. */
export const isOverlay = window.location.pathname.startsWith("/overlay/");

type LazyPages = typeof import("./pages/lazyPages");

/** Loads a page when it is needed, and for as long as it takes. */
const lazy = (page: keyof LazyPages) => async () => (await retryUntilDone(() => import("./pages/lazyPages")))[page];

export function createSiteRouter(): Router {
  const router = createRouter({
    history: createWebHistory(),
    routes: [
      { path: "/", name: "home", component: HomePage },
      { path: "/callback", name: "callback", component: lazy("CallbackPage") },
      {
        path: "/watch/:channel",
        name: "watch",
        component: lazy("WatchPage"),
        props: true,
        // Logins are lower case; a link with the name as people write it leads to the same page.
        beforeEnter(to) {
          const parsed = parseChannel(String(to.params.channel));
          const same = "problem" in parsed || parsed.login === to.params.channel;
          return same || { name: "watch", params: { channel: parsed.login }, replace: true };
        },
      },
      {
        path: "/watch/:channel/overlay",
        name: "overlay-setup",
        component: lazy("OverlaySetupPage"),
        props: true,
      },
      {
        path: "/overlay/:channel",
        name: "overlay",
        component: lazy("OverlayPage"),
        props: true,
      },
      { path: "/leaderboard", name: "leaderboard", component: lazy("LeaderboardPage") },
      { path: "/:rest(.*)*", name: "not-found", component: lazy("NotFoundPage") },
    ],
    scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
  });
  router.afterEach((to, from) => {
    document.title = to.name === "leaderboard" ? "Leaderboard · Fanfare" : "Fanfare";
    // Who cannot see the page change learns of it where the keyboard is.
    if (from !== START_LOCATION) void nextTick(() => document.getElementById("main")?.focus());
  });
  return router;
}
