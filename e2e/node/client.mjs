// One client of the official TypeScript SDK: node client.mjs URL [CALLS]
//
// Connects, lists the tools, makes the calls (a JSON list of {name,
// arguments}), ends the session, and prints what it saw as one JSON object.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, calls = "[]"] = process.argv.slice(2);
const client = new Client({ name: "hangar-e2e", version: "1.0.0" });
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

const results = [];
for (const call of JSON.parse(calls)) {
  const progress = [];
  const result = await client.callTool(call, undefined, {
    onprogress: ({ progress: at }) => progress.push(at),
  });
  results.push({ ...result, progress });
}

// After the calls, so that the tools of servers they started are listed.
const tools = [];
let cursor;
do {
  const page = await client.listTools({ cursor });
  tools.push(...page.tools.map((tool) => tool.name));
  cursor = page.nextCursor;
} while (cursor);

const session = transport.sessionId;
await transport.terminateSession();
console.log(
  JSON.stringify({
    server: client.getServerVersion(),
    protocolVersion: transport.protocolVersion,
    session,
    terminated: transport.sessionId === undefined,
    tools,
    results,
  }),
);
await client.close();
