import { nextTick } from "vue";
import { createRouter, createWebHistory, START_LOCATION, type Router } from "vue-router";

import { parseChannel } from "./channelName";
import HomePage from "./pages/HomePage.vue";
import { persist } from "./persist";

/** Whether this is an overlay, which OBS shows over a stream: there is nothing on it but alerts. */
export const isOverlay = window.location.pathname.startsWith("/overlay/");

type Later = typeof import("./pages/later");

/** Loads a page when it is needed, and for as long as it takes. */
const later = (page: keyof Later) => async () => (await persist(() => import("./pages/later")))[page];

export function createSiteRouter(): Router {
  const router = createRouter({
    history: createWebHistory(),
    routes: [
      { path: "/", name: "home", component: HomePage },
      { path: "/callback", name: "callback", component: later("CallbackPage") },
      {
        path: "/watch/:channel",
        name: "watch",
        component: later("WatchPage"),
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
        component: later("OverlaySetupPage"),
        props: true,
      },
      {
        path: "/overlay/:channel",
        name: "overlay",
        component: later("OverlayPage"),
        props: true,
      },
      { path: "/leaderboard", name: "leaderboard", component: later("LeaderboardPage") },
      { path: "/:rest(.*)*", name: "not-found", component: later("NotFoundPage") },
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
