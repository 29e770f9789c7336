import { onBeforeUnmount, onMounted, watch, type ShallowRef } from "vue";

import { useTheme } from "../composables/useTheme";
import uPlot from "./uplot";

/** The page's colours, as a canvas needs them. */
interface Palette {
  ink: string;
  line: string;
  accent: string;
  tint: string;
}

/** The named colours as the browser computes them: a custom property's own text would be `light-dark(…)`. */
function palette(host: HTMLElement): Palette {
  const probe = document.createElement("span");
  host.append(probe);
  const colour = (name: string): string => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = {
    ink: colour("--ink-soft"),
    line: colour("--line"),
    accent: colour("--brass"),
    tint: colour("--brass-tint"),
  };
  probe.remove();
  return colours;
}

/** Draws a chart into an element: at its width, in the theme's colours, whenever the data changes. */
export function useChart(
  host: Readonly<ShallowRef<HTMLElement | null>>,
  height: number,
  options: (colours: Palette) => Omit<uPlot.Options, "width" | "height">,
  data: () => uPlot.AlignedData,
): void {
  const { dark } = useTheme();
  let chart: uPlot | undefined;

  const resized = new ResizeObserver(([entry]) => {
    if (entry) chart?.setSize({ width: entry.contentRect.width, height });
  });

  function draw(): void {
    chart?.destroy();
    if (host.value === null) return;
    chart = new uPlot({ ...options(palette(host.value)), width: host.value.clientWidth, height }, data(), host.value);
  }

  onMounted(() => {
    draw();
    if (host.value) resized.observe(host.value);
  });
  watch(data, (now) => chart?.setData(now));
  watch(dark, draw, { flush: "post" });
  onBeforeUnmount(() => {
    resized.disconnect();
    chart?.destroy();
  });
}

export const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
