import { createRouter, createWebHistory, type Router } from "vue-router";

import HomePage from "./pages/HomePage.vue";

export function createSiteRouter(): Router {
  return createRouter({
    history: createWebHistory(),
    routes: [
      { path: "/", name: "home", component: HomePage },
      { path: "/callback", name: "callback", component: () => import("./pages/CallbackPage.vue") },
      {
        path: "/watch/:channel",
        name: "watch",
        component: () => import("./pages/WatchPage.vue"),
        props: true,
      },
      { path: "/:rest(.*)*", name: "not-found", component: () => import("./pages/NotFoundPage.vue") },
    ],
    scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
  });
}
