% rebase('layout.tpl')
<div class="head">
  <h1><bdi>{{page.who}}</bdi> <bdi>{{page.what}}</bdi></h1>
% if page.record_href:
  <div class="tools"><a class="button" href="{{page.record_href}}">{{t("event.open")}}</a></div>
% end
</div>
% include('_differences.tpl', differences=page.differences)
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
