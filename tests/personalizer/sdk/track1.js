// What a program does with @azure/cognitiveservices-personalizer 2.0.1; prints what it met, as JSON.
// usage: node track1.js KEY ENDPOINT...
"use strict";

const { ApiKeyCredentials } = require("@azure/ms-rest-js");
const { PersonalizerClient } = require("@azure/cognitiveservices-personalizer");

const ODD_ID = "ev 3/ä?é";
const ACTIONS = [
  { id: "pasta", features: [{ taste: "salty", grams: [400, 800] }, { nutrition: { level: 5 } }] },
  { id: "ice cream", features: [{ taste: "sweet" }] },
];

function connect(endpoint, key) {
  return new PersonalizerClient(new ApiKeyCredentials({ inHeader: { "Ocp-Apim-Subscription-Key": key } }), endpoint);
}

async function findError(call) {
  try {
    await call();
  } catch (error) {
    return [error.statusCode, error.body && error.body.error ? error.body.error.code : null];
  }
  return null;
}

async function use(endpoint, key) {
  const client = connect(endpoint, key);
  const ranked = await client.rank({
    actions: ACTIONS,
    contextFeatures: [{ state: { timeOfDay: "noon" } }],
    excludedActions: ["pasta"],
    eventId: ODD_ID,
    deferActivation: true,
  });
  await client.events.reward(ODD_ID, { value: 0.5 });
  await client.events.activate(ODD_ID);
  return {
    ranking: ranked.ranking.map((each) => [each.id, each.probability]),
    event_id: ranked.eventId,
    chosen: ranked.rewardActionId,
    401: await findError(() => connect(endpoint, "bad").rank({ actions: ACTIONS })),
    400: await findError(() => client.rank({ actions: [{ id: "a", features: [] }] })),
  };
}

(async () => {
  const [key, ...endpoints] = process.argv.slice(2);
  const answers = [];
  for (const endpoint of endpoints) answers.push(await use(endpoint, key));
  console.log(JSON.stringify(answers));
})();
