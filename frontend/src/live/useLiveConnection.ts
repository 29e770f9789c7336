import { onScopeDispose, shallowRef, type ShallowRef } from "vue";

import { useEventListener } from "../composables/useEventListener";
import { INITIAL_STATE, LiveConnection, type LiveState } from "./connection";
import type { Environment } from "./environment";

/** Follows a channel for as long as the component lives; `retry` is for a viewer who does not want to wait. */
export function useLiveConnection(
  login: string,
  environment: Environment,
): { live: Readonly<ShallowRef<LiveState>>; retry: () => void } {
  const live = shallowRef(INITIAL_STATE);
  const connection = new LiveConnection(login, environment, (state) => {
    live.value = state;
  });
  const retry = (): void => {
    connection.retryNow();
  };
  useEventListener(window, "online", retry);
  useEventListener(window, "offline", () => {
    connection.check();
  });
  useEventListener(document, "visibilitychange", () => {
    if (document.visibilityState === "visible") connection.shown();
    else connection.hidden();
  });
  onScopeDispose(() => {
    connection.stop();
  });

  connection.start();
  if (document.visibilityState === "hidden") connection.hidden();
  return { live, retry };
}
