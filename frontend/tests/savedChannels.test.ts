import { describe, expect, test } from "vitest";

import { parseSavedChannels, visited, type SavedChannel } from "../src/saved-channels/savedChannels";

const channel = (login: string, favourite = false): SavedChannel => ({ login, displayName: login, avatarUrl: "", favourite });
const logins = (channels: SavedChannel[]) => channels.map(({ login }) => login);

describe("the channels of a device", () => {
  test("begin with the one that was watched last", () => {
    expect(logins(visited([channel("ada"), channel("ben")], channel("ben")))).toEqual(["ben", "ada"]);
  });

  test("stay favourites when they are watched again", () => {
    expect(visited([channel("ada", true)], { login: "ada", displayName: "Ada", avatarUrl: "a.png" })).toEqual([
      { login: "ada", displayName: "Ada", avatarUrl: "a.png", favourite: true },
    ]);
  });

  test("forget what was watched long ago, but no favourite", () => {
    let channels = [channel("first", true), channel("second")];
    for (let n = 0; n < 20; n += 1) channels = visited(channels, channel(`c${n}`));
    expect(logins(channels)).toContain("first");
    expect(logins(channels)).not.toContain("second");
    expect(channels).toHaveLength(13);
  });

  test.each([[null], [""], ["{"], ["{}"], ['[null, 7, {"login": "two words"}, {"login": 3}]']])(
    "are none if storage holds %j",
    (stored) => {
      expect(parseSavedChannels(stored)).toEqual([]);
    },
  );

  test("are read as far as they can be", () => {
    expect(parseSavedChannels('[{"login": "Ada", "favourite": true}, 5]')).toEqual([
      { login: "ada", displayName: "ada", avatarUrl: "", favourite: true },
    ]);
  });
});
