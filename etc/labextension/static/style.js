// JupyterLab shows the first line of an output that is folded. In a lecture that is the answer
// to "Predict first", so this says only that something is folded. It is a module container as
// JupyterLab loads them, short enough to be written without a bundler.
(window._JUPYTERLAB ??= {}).cnnlab = {
  init() {},
  get: async () => () => {
    const style = document.createElement("style");
    style.textContent = `
      .jp-OutputPlaceholder .jp-PlaceholderText { font-size: 0; }
      .jp-OutputPlaceholder .jp-PlaceholderText::before {
        content: "output folded, click to see it";
        font: italic var(--jp-ui-font-size1) var(--jp-ui-font-family);
      }`;
    document.head.append(style);
    return {};
  },
};
