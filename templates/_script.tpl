% # The line by which a program asks for the list that a page shows.
<details class="script">
  <summary>{{title}}</summary>
  <p>{{!t.html("script.how", token=t.tag("code", "TOKEN"), me=t.link(tokens_href, t("script.me")))}}</p>
  <pre tabindex="0" role="region" aria-label="{{t("script.line")}}"><code>{{line}}</code></pre>
</details>
