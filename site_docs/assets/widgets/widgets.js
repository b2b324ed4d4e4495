// Loads a widget's module only where its element is on the page.
const names = [];

for (const name of names) {
  if (document.querySelector(name)) import(`./${name}.js`);
}
