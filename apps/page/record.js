// Facts from the export about its training run. A missing fact is not shown.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BELOW] = [600, 180, 44, 24]; // of the curve's picture

export function showRecord(section, version) {
  const facts = version.facts ?? {};
  const { accuracy, test_rows: testRows, device } = facts;
  const number = (value) => value.toLocaleString("en");
  const lines = {
    "Accuracy": testRows
      && `${(100 * accuracy).toFixed(2)}%: ${number(Math.round(accuracy * testRows))} of`
        + ` ${number(testRows)} test rows, each counted once`,
    "Ranks": facts.num_ranks && `${facts.num_ranks}${device ? ` on ${device}` : ""}`,
    "Training time": facts.train_s && `${number(facts.train_s)} seconds`,
    "Training rows": facts.train_rows && number(facts.train_rows),
    "Data": facts.data,
    "Start weights": facts.origin,
    "Licence": facts.licence,
    "Run": version.model?.run_id,
    "Weights, SHA-256": version.model?.sha256,
    "Computed by": version.engine,
  };
  section.querySelector("dl").replaceChildren(
    ...Object.entries(lines).filter(([, value]) => value).flatMap(([name, value]) => {
      const [term, fact] = ["dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      fact.textContent = value;
      return [term, fact];
    }));
  if (facts.loss_curve?.length > 1) {
    const figure = section.querySelector("figure");
    figure.prepend(curve(facts.loss_curve));
    figure.hidden = false;
  }
  // A single rank averages nothing.
  section.querySelector("#step").hidden = !(facts.num_ranks > 1);
  section.hidden = false;
}

// The loss [step, mean over all ranks] as a line, zero at the bottom.
function curve(points) {
  const steps = points.map(([step]) => step);
  const losses = points.map(([, loss]) => loss);
  const [firstStep, lastStep] = [steps[0], steps.at(-1)];
  const highest = Math.max(...losses);
  const x = (step) => LEFT + ((WIDTH - LEFT - 8) * (step - firstStep)) / (lastStep - firstStep);
  const y = (loss) => 8 + (HEIGHT - BELOW - 8) * (1 - loss / highest);
  const picture = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  picture.setAttribute("aria-label", `Training loss: ${losses[0].toFixed(2)} at step `
    + `${firstStep}, ${losses.at(-1).toFixed(2)} at step ${lastStep}`);
  const line = points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`);
  const bottom = HEIGHT - BELOW;
  picture.append(
    make("path", { class: "axis", d: `M${LEFT} 8V${bottom}H${WIDTH - 8}` }),
    make("polyline", { class: "loss", points: line.join(" ") }),
    write(highest.toFixed(2), { x: LEFT - 6, y: 18, "text-anchor": "end" }),
    write("0", { x: LEFT - 6, y: bottom, "text-anchor": "end" }),
    write(`step ${firstStep}`, { x: LEFT, y: HEIGHT - 6 }),
    write(`step ${lastStep}`, { x: WIDTH - 8, y: HEIGHT - 6, "text-anchor": "end" }),
  );
  return picture;
}

function make(tag, attributes) {
  const part = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
  return part;
}

function write(words, attributes) {
  const part = make("text", attributes);
  part.textContent = words;
  return part;
}

// The course's picture, fetched only when the visitor opens this section.
export async function showPicture(details) {
  const place = details.querySelector("[role=group]");
  if (!details.open || place.firstChild) return;
  const answer = await fetch("static/ddp-step.svg");
  if (!answer.ok) return;
  // Remove it: the page's policy forbids style attributes; page.css sets the width.
  const source = (await answer.text()).replace(/ style="[^"]*"/, "");
  const parsed = new DOMParser().parseFromString(source, "image/svg+xml");
  if (!place.firstChild) place.append(document.importNode(parsed.documentElement, true));
}
