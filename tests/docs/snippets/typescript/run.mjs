// Runs the compiled snippet against a tenant that rejects the first token, and writes the next one to the file meanwhile.
import assert from "node:assert";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";

const directory = process.argv[2];
const seen = [];
const tenant = createServer((request, answer) => {
  if (request.url !== "/api/v1/users/me") {
    answer.writeHead(404).end();
    return;
  }
  const { authorization } = request.headers;
  seen.push(authorization);
  if (authorization !== "Bearer second") {
    writeFileSync(`${directory}/token`, "second");
    answer.writeHead(401, { "content-type": "application/json" }).end('{"errors":[{"code":"X-1","title":"Unauthorized"}]}');
    return;
  }
  answer.writeHead(200, { "content-type": "application/json" }).end('{"id":"63ea","name":"m2m"}');
});
await new Promise((listening) => tenant.listen(0, "127.0.0.1", listening));
writeFileSync(`${directory}/token`, "first");
writeFileSync(`${directory}/host`, `http://127.0.0.1:${tenant.address().port}`);
await import("./built/snippet.js");
assert.deepStrictEqual(seen, ["Bearer first", "Bearer second"]);
tenant.close();
tenant.closeAllConnections();
