% rebase('layout.tpl')
<div class="head">
  <h1><bdi>{{page.name}}</bdi></h1>
  <div class="tools">
    <a class="button solid" href="{{page.href}}" download>{{t("view.download")}}</a>
% for what, href, words in page.buttons:
    <a class="button {{"danger" if what == "delete" else ""}}" href="{{href}}">{{words}}</a>
% end
  </div>
</div>
<nav class="around" aria-label="{{t("view.around")}}">
% if page.before_href:
  <a class="button small" href="{{page.before_href}}" rel="prev" aria-label="{{t("view.before", name=page.before)}}">← <bdi>{{page.before}}</bdi></a>
% end
  <a class="button small" href="{{page.back_href}}"><bdi>{{page.folder}}</bdi></a>
% if page.after_href:
  <a class="button small" href="{{page.after_href}}" rel="next" aria-label="{{t("view.after", name=page.after)}}"><bdi>{{page.after}}</bdi> →</a>
% end
</nav>
% if page.encodings:
<form class="filter letters" method="get" action="{{page.href}}">
  <input type="hidden" name="_view" value="1">
%   if page.state:
  <input type="hidden" name="_list" value="{{page.state}}">
%   end
%   if page.is_guess:
  <p class="note">{{t("view.guess")}}</p>
%   end
  <div class="field"><label for="letters">{{t("import.encoding")}}</label>
  <select id="letters" name="_encoding">
%   for name, words, selected in page.encodings:
    <option value="{{name}}"{{" selected" if selected else ""}}>{{words}}</option>
%   end
  </select></div>
  <button class="button">{{t("table.show")}}</button>
</form>
% end
<div class="view as-{{page.kind or 'file'}}">
% if page.kind == "image":
  <a href="{{page.href}}"><img src="{{page.href}}" alt="{{page.name}}" data-broken="{{t("view.broken")}}"></a>
% elif page.kind == "pdf":
  <iframe src="{{page.href}}" title="{{page.name}}"></iframe>
  <p><a href="{{page.href}}">{{t("view.open")}}</a></p>
% elif page.kind == "audio":
  <audio controls preload="metadata" src="{{page.href}}" aria-label="{{page.name}}"></audio>
  <p class="note">{{t("view.silent")}}</p>
% elif page.kind == "video":
  <video controls preload="metadata" src="{{page.href}}" aria-label="{{page.name}}"></video>
  <p class="note">{{t("view.silent")}}</p>
% elif page.kind == "markdown":
  <div class="prose">
{{!page.html}}
  </div>
% elif page.kind == "table":
  <div class="scroll" role="region" aria-label="{{page.name}}" tabindex="0"><table class="data">
    <thead><tr>
%   for cell, numeric in zip(page.head, page.numeric):
      <th scope="col" class="{{'num' if numeric else ''}}">{{cell}}</th>
%   end
    </tr></thead>
    <tbody>
%   for row in page.rows:
      <tr>
%     for cell, numeric in zip(row, page.numeric):
<td class="{{'num' if numeric else ''}}"><bdi>{{cell}}</bdi></td>\\
%     end
</tr>
%   end
    </tbody>
  </table></div>
% elif page.kind == "text":
  <div class="scroll lines" role="region" aria-label="{{page.name}}" tabindex="0"><pre class="numbers" aria-hidden="true">{{"\n".join(map(str, range(1, len(page.lines) + 1)))}}</pre><pre class="code" dir="auto">
{{"\n".join(page.lines)}}</pre></div>
% else:
  <p class="note">{{page.none}}</p>
% end
% if page.is_cut:
  <p class="note">{{t("view.cut")}} <a href="{{page.href}}" download>{{t("view.download")}}</a></p>
% end
</div>
<dl class="record">
% for title_of_fact, text in page.facts:
  <div><dt>{{title_of_fact}}</dt><dd><bdi>{{text}}</bdi></dd></div>
% end
</dl>
