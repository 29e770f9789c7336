/** The charts, with their library: one file, which comes when they can be seen. */

export { default as DailyChart } from "./DailyChart.vue";
export { default as HourChart } from "./HourChart.vue";
