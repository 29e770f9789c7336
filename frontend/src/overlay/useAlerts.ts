import { onScopeDispose, shallowRef, type ShallowRef } from "vue";

import type { Row } from "../feed/bursts";
import { browserClock } from "../live/environment";
import { AlertQueue } from "./alertQueue";
import type { OverlayOptions } from "./overlayOptions";

/** A queue of alerts for as long as the component lives, and the one that is shown. */
export function useAlerts(options: Pick<OverlayOptions, "families" | "seconds">): {
  alert: Readonly<ShallowRef<Row | null>>;
  alerts: AlertQueue;
} {
  const alert = shallowRef<Row | null>(null);
  const alerts = new AlertQueue(browserClock, options, (shown) => {
    alert.value = shown;
  });
  onScopeDispose(() => {
    alerts.stop();
  });
  return { alert, alerts };
}
