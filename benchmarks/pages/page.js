(() => {
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const shown = () => root.dataset.theme || (dark.matches ? 'dark' : 'light');
  document.getElementById('theme').addEventListener('click', () => {
    root.dataset.theme = shown() === 'dark' ? 'light' : 'dark';
  });
})();
