// In language_data.js, which the search page loads after searchtools.js.
// What a page is about comes before what it mentions, a derivation before a run, and either before the rest.
var Scorer = {
  score: ([page, title, , , score]) => {
    const stemmer = new Stemmer();
    const words = text => splitQuery(text.toLowerCase()).filter(w => !stopwords.includes(w)).map(stemmer.stemWord);
    const keywords = words((KEYWORDS[page] ?? []).join(' ')), titled = words(title);
    const asked = words(document.querySelector('input[name="q"]').value); // Search.init puts the query there
    const meant = asked.map(word => (keywords.includes(word) ? 80 : titled.includes(word) ? 40 : 0));
    const kind = /^notebooks/.test(page) ? 10 : /^book\/(?!play|reference)\w+\//.test(page) ? 30 : 0;
    return score + kind + meant.reduce((sum, share) => sum + share, 0) / Math.max(1, asked.length);
  },
  // as Sphinx has them
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

// Of a page that was found its article is quoted, without the theme's buttons and tables of contents.
{
  const { htmlToText } = Search;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, 'text/html');
    page.querySelector('[role="main"]').replaceChildren(page.querySelector('.bd-article'));
    return htmlToText(page.documentElement.outerHTML, anchor);
  };
}
