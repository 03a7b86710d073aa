% rebase('layout.tpl')
<div class="head">
  <h1><bdi>{{page.who}}</bdi> <bdi>{{page.what}}</bdi></h1>
% if page.record_href:
  <div class="tools"><a class="button" href="{{page.record_href}}">{{t("event.open")}}</a></div>
% end
</div>
% if page.differences:
<dl class="record changes">
%   for one in page.differences:
  <div>
    <dt>{{one.title}}</dt>
    <dd>
%     if one.parts:
      <p class="text">\\
%       for kind, text in one.parts:
%         if kind == "same":
{{text}}\\
%         elif kind == "gone":
<del><span class="visually-hidden">{{t("event.gone")}} </span>{{text}}</del>\\
%         else:
<ins><span class="visually-hidden">{{t("event.new")}} </span>{{text}}</ins>\\
%         end
%       end
</p>
      <details><summary>{{t("event.both")}}</summary>
        <h3>{{t("event.before")}}</h3><p class="text">{{one.before}}</p>
        <h3>{{t("event.after")}}</h3><p class="text">{{one.after}}</p>
      </details>
%     else:
%       if one.before:
      <p class="text"><del><span class="visually-hidden">{{t("event.was")}} </span><bdi>{{one.before}}</bdi></del></p>
%       end
%       if one.after:
      <p class="text"><ins><span class="visually-hidden">{{t("event.is")}} </span><bdi>{{one.after}}</bdi></ins></p>
%       end
%     end
    </dd>
  </div>
%   end
</dl>
% end
<section>
<h2>{{t("event.facts")}}</h2>
% include('_facts.tpl', fields=page.facts)
</section>
% if page.others:
<section>
<h2>{{t("event.others")}}</h2>
<ul class="plain">
%   for one in page.others:
  <li><a href="{{one.href}}"><bdi>{{one.text}}</bdi></a> <span class="note">{{one.outcome}}</span></li>
%   end
</ul>
</section>
% end
<p class="back"><a href="{{url('admin/audit')}}">{{t("event.back")}}</a></p>
