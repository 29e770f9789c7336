import { nextTick } from "vue";
import { createRouter, createWebHistory, START_LOCATION, type Router } from "vue-router";

import { parseChannel } from "./channelName";
import HomePage from "./pages/HomePage.vue";

export function createSiteRouter(): Router {
  const router = createRouter({
    history: createWebHistory(),
    routes: [
      { path: "/", name: "home", component: HomePage },
      { path: "/callback", name: "callback", component: () => import("./pages/CallbackPage.vue") },
      {
        path: "/watch/:channel",
        name: "watch",
        component: () => import("./pages/WatchPage.vue"),
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
        component: () => import("./pages/OverlaySetupPage.vue"),
        props: true,
      },
      {
        path: "/overlay/:channel",
        name: "overlay",
        component: () => import("./pages/OverlayPage.vue"),
        props: true,
        meta: { bare: true },
      },
      { path: "/leaderboard", name: "leaderboard", component: () => import("./pages/LeaderboardPage.vue") },
      { path: "/:rest(.*)*", name: "not-found", component: () => import("./pages/NotFoundPage.vue") },
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
