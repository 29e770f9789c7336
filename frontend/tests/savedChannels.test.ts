import { describe, expect, test } from "vitest";

import { parsePlaces, visited, type Place } from "../src/saved-channels/savedChannels";

const place = (login: string, favourite = false): Place => ({ login, displayName: login, avatarUrl: "", favourite });
const logins = (places: Place[]) => places.map(({ login }) => login);

describe("the channels of a device", () => {
  test("begin with the one that was watched last", () => {
    expect(logins(visited([place("ada"), place("ben")], place("ben")))).toEqual(["ben", "ada"]);
  });

  test("stay favourites when they are watched again", () => {
    expect(visited([place("ada", true)], { login: "ada", displayName: "Ada", avatarUrl: "a.png" })).toEqual([
      { login: "ada", displayName: "Ada", avatarUrl: "a.png", favourite: true },
    ]);
  });

  test("forget what was watched long ago, but no favourite", () => {
    let places = [place("first", true), place("second")];
    for (let n = 0; n < 20; n += 1) places = visited(places, place(`c${n}`));
    expect(logins(places)).toContain("first");
    expect(logins(places)).not.toContain("second");
    expect(places).toHaveLength(13);
  });

  test.each([[null], [""], ["{"], ["{}"], ['[null, 7, {"login": "two words"}, {"login": 3}]']])(
    "are none if storage holds %j",
    (stored) => {
      expect(parsePlaces(stored)).toEqual([]);
    },
  );

  test("are read as far as they can be", () => {
    expect(parsePlaces('[{"login": "Ada", "favourite": true}, 5]')).toEqual([
      { login: "ada", displayName: "ada", avatarUrl: "", favourite: true },
    ]);
  });
});
