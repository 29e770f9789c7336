// No circles: neither modules nor folders of src/ import each other, be it types only or by way of others.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const modules = {};
const folders = {};
for (const name of readdirSync("src", { recursive: true })) {
  if (!/\.(ts|vue)$/.test(name)) continue;
  const file = join("src", name);
  const imports = readFileSync(file, "utf8").matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g);
  const imported = Array.from(imports, ([, path]) => join(dirname(file), path));
  modules[file.replace(/\.ts$/, "")] = imported;
  // The modules at the top are either the application or used everywhere.
  if (dirname(file) !== "src") (folders[dirname(file)] ??= []).push(...imported.map(dirname).filter((to) => to !== dirname(file)));
}

/** A way from the node back to a node on it, if there is one. */
function circle(graph, node, way, done) {
  if (way.includes(node)) return [...way.slice(way.indexOf(node)), node];
  if (done.has(node)) return undefined;
  done.add(node);
  for (const next of graph[node] ?? []) {
    const found = circle(graph, next, [...way, node], done);
    if (found) return found;
  }
  return undefined;
}

for (const graph of [modules, folders]) {
  const done = new Set();
  const found = Object.keys(graph).map((node) => circle(graph, node, [], done)).find(Boolean);
  if (found) {
    console.error(`Imports go in a circle: ${found.join(" → ")}`);
    process.exitCode = 1;
  }
}
