/** What a person typed, read as a channel: its login, or why it cannot be one. */
export type ChannelInput = { login: string } | { problem: string };

const LONGEST = 25;
const LINK = /^(?:https?:\/\/)?((?:(?:www|m|go|clips|player|dashboard|[a-z]{2}(?:-[a-z]{2})?)\.)?twitch\.tv(?:[/?#].*)?)$/i;

/** What chat clients put beside a name without showing it. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}]/gu;

/** Twitch's pages about the channel that is named next: `twitch.tv/popout/<name>/chat`. */
const BEFORE_A_NAME = ["popout", "moderator", "embed", "subs", "products", "u"];

/** Twitch's other pages, by the first word of their paths: no channel has such a name. */
const NO_CHANNEL: [what: string, words: string][] = [
  ["a video", "videos v collections"],
  ["a clip", "clip"],
  ["a team", "team"],
  [
    "a page of Twitch’s own",
    "directory search settings downloads p jobs store turbo drops wallet inventory subscriptions friends login signup",
  ],
];

/**
 * Reads a channel name as people give it: `name`, `@Name` or a link to a page about the channel.
 * Twitch's rule for logins: 1 to 25 letters, digits or underscores, not beginning with an underscore.
 */
export function parseChannel(input: string): ChannelInput {
  let name = input.replace(INVISIBLE, "").trim();
  const link = LINK.exec(name)?.[1];
  if (link !== undefined) {
    const { hostname, pathname, searchParams } = new URL(`https://${link}`);
    const [first = "", next = ""] = pathname.split("/").filter((part) => part !== "");
    const word = hostname === "clips.twitch.tv" ? "clip" : first.toLowerCase();
    const other = NO_CHANNEL.find(([, words]) => words.split(" ").includes(word));
    if (other) return { problem: `That is ${other[0]}, not a channel.` };
    // The player's address has the channel in its query.
    name = (BEFORE_A_NAME.includes(word) ? next : first) || (searchParams.get("channel") ?? "");
    if (name === "") return { problem: "That link leads to Twitch, but not to a channel." };
  }
  name = name.replace(/^@/, "");

  if (name === "") return { problem: "Enter the name of a channel." };
  if (!/^\w+$/.test(name)) return { problem: "A channel name has only letters a–z, digits and underscores." };
  if (name.startsWith("_")) return { problem: "A channel name does not begin with an underscore." };
  if (name.length > LONGEST) return { problem: `A channel name has at most ${LONGEST} characters.` };
  return { login: name.toLowerCase() };
}
