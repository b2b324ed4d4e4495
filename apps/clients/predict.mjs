// Classify a headline:  node predict.mjs [http://127.0.0.1:8000] ["a headline"]
const [url = "http://127.0.0.1:8000", text = "Oil prices rise as a storm nears the coast"] =
  process.argv.slice(2);
const headers = { "Content-Type": "application/json" };
const key = process.env.DISTRINEWS_API_KEY; // for a server that has one
if (key) headers.Authorization = `Bearer ${key}`;

async function classify(text, numTries = 5) {
  for (let i = 0; ; i++) {
    const reply = await fetch(`${url}/predict`, {
      method: "POST",
      headers,
      body: JSON.stringify({ text }),
      signal: AbortSignal.timeout(30_000),
    });
    const told = await reply.json(); // an error is JSON, too (RFC 9457)
    if (reply.ok) return told;
    if (reply.status !== 503 || i === numTries) throw new Error(`${told.title}: ${told.detail}`);
    // The server is busy, and says when it will not be.
    const seconds = Number(reply.headers.get("Retry-After") ?? 1);
    await new Promise((resume) => setTimeout(resume, seconds * 1000));
  }
}

try {
  const { label, scores } = await classify(text);
  console.log(`${label} ${scores[label].toFixed(4)}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
